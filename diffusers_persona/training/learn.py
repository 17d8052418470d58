"""`learn`: pictures in, a `Concept` out; the user's pipeline is never changed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

from .. import backbones
from ..concept import Concept
from ..errors import PersonaError
from ..files import only_writer, png, write_whole
from ..inversion.images import ImageSet, load_images
from ..recipe import Recipe
from . import checkpoint, prior
from .making import Maker, preview
from .plan import Lesson, Settings, for_parts, plan_of, resolve_recipe
from .progress import bar
from .run_folder import open_run


def learn(
    pipe,
    images,
    recipe: str | Recipe = "textual-inversion",
    *,
    token: str | None = None,
    noun: str = "thing",
    kind: str = "object",
    output=None,
    resume: bool = False,
    seed: int = 0,
    precision: str = "auto",
    resolution: int | None = None,
    accumulation: int = 1,
    gradient_checkpointing: bool = False,
    keep_pipe: bool = True,
    masks=None,
    templates=None,
    prior_images=None,
    on_image_error: str = "refuse",
    checkpoint_every: int = 100,
    preview_every: int = 0,
    preview_prompt: str = "a {phrase}",
    progress: bool = True,
    callback: Callable[[int, float], None] | None = None,
    licence: str = "",
    consent: str = "",
    **numbers,
) -> Concept:
    """Teaches a concept from a few pictures.

    Under ``accelerate launch`` or ``torchrun`` the processes share the forward passes of each step: two find what one
    finds with twice the accumulation. Each has the pipeline on its own device; only the main one writes.

    Args:
        pipe: a diffusers pipeline of a family that the recipe serves; it stays as it is.
        images: a folder, a file, a list of paths or PIL pictures, or an `ImageSet`. Recipes that learn several things
            from pictures of each take a mapping from class word to any of these, or a folder with a folder for each.
        recipe: id of a registered recipe, or a `Recipe`.
        token: the word for the concept; by default ``<noun>`` where the recipe adds a word, else a rare word that the
            tokenizer knows. Several words for recipes that learn several things: ``"<cup> <toy>"``.
        noun: the class word ("dog", "woman", "thing"). Recipes that learn several things from the same pictures take
            ``"cup and toy"``.
        kind: ``"object"``, ``"live"``, ``"person"`` or ``"style"``: chooses the prompts of learning.
        output: folder for checkpoints, previews and the finished concept; None keeps everything in memory.
        resume: go on from the last checkpoint in `output` (or start, if there is none).
        seed: of everything that is drawn.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"`` for the frozen weights; what is learned stays in float32.
            ``"auto"``: bf16 where the device computes in it, fp32 for miniature models. Weights that the pipeline
            holds in another precision are copied: load it in the precision of learning to save memory.
        resolution: side of the pictures in pixels; by default what the model was trained for.
        accumulation: forward passes an optimiser step.
        gradient_checkpointing: less memory for more time.
        keep_pipe: False gives the pipeline up for memory: its models are taken out of it, and what the run needs no
            more (the VAE, and the text encoders where they stay as they are) is freed once everything is encoded.
        masks: folder or list of masks: the loss counts inside them only. For several things a mapping from class word
            to folder or list, or a folder with a folder of masks for each class word.
        templates: prompts with ``{phrase}`` in place of the recipe's.
        prior_images: folder of real class pictures with captions, for recipes with prior preservation.
        on_image_error: ``"refuse"`` or ``"skip"`` pictures that cannot be read.
        checkpoint_every: steps between checkpoints in `output`.
        preview_every: steps between preview pictures in ``output/previews``; 0 for none.
        preview_prompt: their prompt.
        progress: show a bar with the loss and the time left.
        callback: called after each step with (steps done, loss), in every process.
        licence, consent: written into the concept's header; a real person's concept needs the person's consent.
        **numbers: the recipe's keyword numbers, e.g. ``steps=200, lr=1e-4``.

    Returns:
        The concept; also saved in `output`.

    Raises:
        PersonaError: for input that cannot work, in one line.
    """
    place = None if output is None else Path(output)
    lesson = Lesson(images=images, masks=masks, token=token, noun=noun, kind=kind, place=place)
    settings = Settings(
        resume=resume,
        seed=seed,
        precision=precision,
        resolution=resolution,
        accumulation=accumulation,
        gradient_checkpointing=gradient_checkpointing,
        keep_pipe=keep_pipe,
        templates=templates,
        prior_images=prior_images,
        on_image_error=on_image_error,
        checkpoint_every=checkpoint_every,
        preview_every=preview_every,
        preview_prompt=preview_prompt,
        progress=progress,
        callback=callback,
        licence=licence,
        consent=consent,
    )
    return teach(pipe, [lesson], recipe, numbers, settings, folder=place)[0]


def teach(pipe, lessons: list[Lesson], recipe, numbers: dict, settings: Settings, folder: Path | None):
    """The concepts of `lessons`, learned side by side in one run that is kept in `folder`.

    Raises:
        PersonaError: for input that cannot work, in one line.
    """
    from .precision import resolve
    from .processes import Processes

    host = backbones.of(pipe)
    entry, declared, resolved = resolve_recipe(recipe, host, numbers, settings.accumulation)
    precision = resolve(settings.precision, miniature=host.miniature, device=host.device)
    resolution = settings.resolution or host.resolution
    subjects = [lesson.read(declared, host, settings, resolution) for lesson in lessons]
    declared = for_parts(declared, len(subjects[0].parts))
    processes = Processes(host.device)
    shared = {
        "recipe": entry.id if entry else "custom",
        "numbers": resolved,
        "declaration": repr(declared),
        "seed": settings.seed,
        "precision": precision,
        "resolution": resolution,
        "processes": processes.count,
        "templates": list(settings.templates) if settings.templates else None,
        "base_model": host.describe(),
        "prior_images": str(settings.prior_images) if settings.prior_images else None,
    }
    plans = [plan_of(subject, shared) for subject in subjects]
    makers = [
        Maker(plan=p, declared=declared, subject=s, licence=settings.licence, consent=settings.consent, number=n)
        for n, (p, s) in enumerate(zip(plans, subjects))
    ]
    with contextlib.ExitStack() as stack:
        if folder is not None:
            places = [subject.place for subject in subjects]
            plan = plans[0] if len(plans) == 1 else {**shared, "concepts": plans}

            def open_folder():
                stack.enter_context(only_writer(folder))
                return open_run(folder, places, plan, settings.resume)

            if processes.main_does(open_folder):
                return [Concept.from_pretrained(place) for place in places]
        return _run(pipe, host, declared, subjects, makers, shared, settings, processes, folder)


def _run(pipe, host, declared, subjects, makers, plan, settings, processes, folder) -> list[Concept]:
    """Learns to the end and saves what was found."""
    from .preparing import prepare
    from .rehearsing import rehearse

    subjects, plan = rehearse(pipe, host, declared, subjects, settings, plan, processes)
    makers = [dataclasses.replace(maker, chosen_seed=plan.get("chosen_seed")) for maker in makers]
    nouns = dict.fromkeys(subject.noun for subject in subjects)
    priors = {noun: _class_pictures(pipe, host, declared, noun, plan, settings, processes) for noun in nouns}
    class_pictures = [priors[subject.noun] for subject in subjects]
    loop = prepare(host, declared, subjects, class_pictures, plan, settings, processes=processes, folder=folder)

    def draw(maker):
        return preview(maker(loop), pipe, settings.preview_prompt, settings.seed, plan["resolution"])

    def write_previews(done):
        for maker, subject in zip(makers, subjects):
            picture = draw(maker)
            if subject.place is not None:
                write_whole(subject.place / "previews" / f"step-{done:06d}.png", png(picture))

    def on_step(done, loss):
        recent = [loss for curve in loop.record["losses"] for loss in curve[-20:]]
        show(done, f"loss {sum(recent) / len(recent):.4f}")
        if settings.preview_every and done % settings.preview_every == 0:
            processes.main_does(lambda: write_previews(done))
        if settings.callback is not None:
            settings.callback(done, loss)

    def finish():
        for concept, subject in zip(concepts, subjects):
            concept.save_pretrained(subject.place)
        (folder / checkpoint.FILE).unlink(missing_ok=True)

    title = "learning " + ", ".join(subject.phrase for subject in subjects)
    with bar(title, declared.method.steps, show=settings.progress and processes.main) as show:
        loop.on_step = on_step
        loop.run(resume=folder is not None and settings.resume and (folder / checkpoint.FILE).exists())
    concepts = [maker(loop) for maker in makers]
    if settings.preview_every:
        for concept, maker in zip(concepts, makers):
            concept.previews = [processes.main_does(lambda maker=maker: draw(maker))]
    if folder is not None:
        processes.main_does(finish)
    return concepts


def _class_pictures(pipe, host, declared, noun, plan, settings, processes) -> ImageSet | None:
    """The class pictures, where a loss wants them."""
    count = declared.method.class_pictures
    if not count:
        if settings.prior_images is not None:
            raise PersonaError(
                "prior_images is given, but no loss of this recipe uses it; set prior_weight above 0, or leave it out"
            )
        return None
    resolution = plan["resolution"]
    if settings.prior_images is not None:
        return load_images(settings.prior_images, resolution=resolution)
    prompt = declared.data.prior_prompt.format(noun=noun)
    with bar(f"class pictures of {prompt!r}", count, show=settings.progress and processes.main) as report:
        paths = processes.main_does(
            lambda: prior.generated(
                pipe, host, prompt, count, seed=settings.seed, resolution=resolution, report=report
            )
        )
    return prior.read(paths, prompt)
