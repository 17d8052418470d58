"""`learn`: pictures in, a `Concept` out; the user's pipeline is never changed."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import backbones
from ..concept import HEADER_FILE, SCHEMA_VERSION, Concept
from ..errors import PersonaError
from ..files import only_writer, png, write_whole
from ..inversion.images import ImageSet, load_images
from ..recipe import Recipe, RecipeEntry, get
from ..spaces import Subject
from ..spaces.tokens import knows, pieces
from ..spaces.word import rare_word
from . import checkpoint, prior
from .progress import bar

RUN_FILE = "run.json"
PACKAGES = ("diffusers_persona", "diffusers", "transformers", "peft", "torch", "safetensors")


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
    precision: str = "fp32",
    resolution: int | None = None,
    accumulation: int = 1,
    gradient_checkpointing: bool = False,
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

    Args:
        pipe: a diffusers pipeline of a family that the recipe serves; it stays as it is.
        images: a folder, a file, a list of paths or PIL pictures, or an `ImageSet`.
        recipe: id of a registered recipe, or a `Recipe`.
        token: the word for the concept; by default ``<noun>`` where the recipe adds a word, else a rare word that the
            tokenizer knows.
        noun: the class word ("dog", "woman", "thing").
        kind: ``"object"``, ``"live"``, ``"person"`` or ``"style"``: chooses the prompts of learning.
        output: folder for checkpoints, previews and the finished concept; None keeps everything in memory.
        resume: go on from the last checkpoint in `output` (or start, if there is none).
        seed: of everything that is drawn.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``; what is learned stays in float32.
        resolution: side of the pictures in pixels; by default what the model was trained for.
        accumulation: forward passes an optimiser step.
        gradient_checkpointing: less memory for more time.
        masks: folder or list of masks: the loss counts inside them only.
        templates: prompts with ``{phrase}`` in place of the recipe's.
        prior_images: folder of real class pictures with captions, for recipes with prior preservation.
        on_image_error: ``"refuse"`` or ``"skip"`` pictures that cannot be read.
        checkpoint_every: steps between checkpoints in `output`.
        preview_every: steps between preview pictures in ``output/previews``; 0 for none.
        preview_prompt: their prompt.
        progress: show a bar with the loss and the time left.
        callback: called after each step with (steps done, loss).
        licence, consent: written into the concept's header; a real person's concept needs the person's consent.
        **numbers: the recipe's keyword numbers, e.g. ``steps=200, lr=1e-4``.

    Returns:
        The concept; also saved in `output`.

    Raises:
        PersonaError: for input that cannot work, in one line.
    """
    host = backbones.of(pipe)
    entry, declared, resolved = _resolve(recipe, host, numbers, accumulation)
    _check_precision(precision)
    token = _token(token, noun, declared, host)
    resolution = resolution or host.resolution
    pictures = (
        images
        if isinstance(images, ImageSet)
        else load_images(images, masks=masks, on_error=on_image_error, resolution=resolution)
    )
    plan = {
        "recipe": entry.id if entry else "custom",
        "numbers": resolved,
        "declaration": repr(declared),
        "token": token,
        "noun": noun,
        "kind": kind,
        "seed": seed,
        "precision": precision,
        "resolution": resolution,
        "templates": list(templates) if templates else None,
        "base_model": host.describe(),
        "images": [_fingerprint(example) for example in pictures],
        "prior_images": str(prior_images) if prior_images else None,
    }
    folder = Path(output) if output is not None else None
    with contextlib.ExitStack() as stack:
        if folder is not None:
            stack.enter_context(only_writer(folder))
            finished = _open_run(folder, plan, resume)
            if finished is not None:
                return finished
        class_pictures = _prior(pipe, host, declared, noun, seed, resolution, prior_images, progress)
        loop, phrase = _loop(
            host, declared, pictures, class_pictures, plan, templates, folder, checkpoint_every, gradient_checkpointing
        )
        make = _Maker(plan, declared, phrase, licence, consent)
        show = stack.enter_context(bar(f"learning {phrase}", declared.method.steps, show=progress))

        def on_step(done, loss):
            show(done, f"loss {_recent(loop.record['losses']):.4f}")
            if preview_every and done % preview_every == 0:
                picture = _preview(make(loop), pipe, preview_prompt, seed, resolution)
                if folder is not None:
                    write_whole(folder / "previews" / f"step-{done:06d}.png", png(picture))
            if callback is not None:
                callback(done, loss)

        loop.on_step = on_step
        loop.run(resume=folder is not None and resume and (folder / checkpoint.FILE).exists())
        concept = make(loop)
        if preview_every:
            concept.previews = [_preview(concept, pipe, preview_prompt, seed, resolution)]
        if folder is not None:
            concept.save_pretrained(folder)
            (folder / checkpoint.FILE).unlink(missing_ok=True)
    return concept


# --------------------------------------------------------------------------------------------------------- what is run


def _resolve(recipe, host, numbers, accumulation) -> tuple[RecipeEntry | None, Recipe, dict[str, Any]]:
    if isinstance(recipe, Recipe):
        if numbers:
            raise PersonaError(
                f"numbers {', '.join(numbers)}: a Recipe object has its numbers already; set them in it"
            )
        entry, declared, resolved = None, recipe, {}
    else:
        entry = get(recipe)
        if host.name not in entry.backbones:
            raise PersonaError(
                f"recipe {entry.id!r} does not serve {host.name} models ({type(host.pipe).__name__}); "
                f"it serves: {', '.join(entry.backbones)}"
            )
        resolved = entry.resolve(numbers, miniature=host.miniature)
        declared = entry.factory(**resolved)
    if accumulation != 1:
        declared = dataclasses.replace(
            declared, method=dataclasses.replace(declared.method, accumulation=accumulation)
        )
    return entry, declared, resolved


def _check_precision(precision):
    from .loop import PRECISIONS

    if precision not in PRECISIONS:
        raise PersonaError(f"precision={precision!r}: choose one of {', '.join(PRECISIONS)}")


def _token(token, noun, declared, host) -> str:
    """The concept's word, checked against the tokenizers."""
    new_word = any(space.adds_token for space in declared.space)
    tokenizers = list(host.tokenizers.values())
    if token is None:
        return f"<{noun.replace(' ', '-')}>" if new_word else rare_word(tokenizers[0])
    if not token or token != token.strip() or " " in token:
        raise PersonaError(f"token={token!r}: a token is one word without spaces, e.g. '<my-dog>'")
    if new_word:
        if any(knows(tokenizer, token) for tokenizer in tokenizers):
            raise PersonaError(
                f"token={token!r} is a word that the model knows already; choose a new one such as '<{token}>'"
            )
        return token
    for tokenizer in tokenizers:
        parts = pieces(tokenizer, token)
        if len(parts) != 1:
            raise PersonaError(
                f"token={token!r}: this recipe adds no word, and the tokenizer splits it into {' '.join(parts)}; "
                f"choose a rare word that it knows, such as {rare_word(tokenizer)!r}"
            )
    return token


def _fingerprint(example) -> dict[str, str]:
    digest = hashlib.sha256(f"{example.image.mode}{example.image.size}".encode() + example.image.tobytes())
    if example.mask is not None:
        digest.update(example.mask.tobytes())
    digest.update((example.caption or "").encode())
    return {"name": Path(example.source).name, "sha256": digest.hexdigest()}


def _open_run(folder: Path, plan: dict, resume: bool) -> Concept | None:
    """Writes the plan before step 0, or checks it against the one in `folder`; the concept if it is finished."""
    path = folder / RUN_FILE
    present = json.loads(json.dumps(plan, default=list))
    if path.exists() and resume:
        try:
            earlier = json.loads(path.read_text())
        except ValueError as error:
            raise PersonaError(f"{path}: not readable; learn into a new folder") from error
        changed = [key for key in present if earlier.get(key) != present[key]]
        if changed:
            raise PersonaError(
                f"{folder} holds another run: {', '.join(changed)} differ; use the same settings or a new folder"
            )
        if (folder / HEADER_FILE).exists():
            return Concept.from_pretrained(folder)
        return None
    if (folder / HEADER_FILE).exists() or (folder / checkpoint.FILE).exists():
        raise PersonaError(f"{folder} holds a run already; go on with resume, or choose a new folder")
    write_whole(path, json.dumps(present, indent=2, sort_keys=True).encode())
    return None


# --------------------------------------------------------------------------------------------------- how it is learned


def _prior(pipe, host, declared, noun, seed, resolution, prior_images, progress) -> ImageSet | None:
    """The class pictures, where a loss wants them."""
    counts = [loss.count for loss in declared.method.losses if loss.weight and hasattr(loss, "count")]
    if not counts:
        if prior_images is not None:
            raise PersonaError(
                "prior_images is given, but no loss of this recipe uses it; set prior_weight above 0, or leave it out"
            )
        return None
    if prior_images is not None:
        return load_images(prior_images, resolution=resolution)
    prompt = declared.data.prior_prompt.format(noun=noun)
    with bar(f"class pictures of {prompt!r}", counts[0], show=progress) as report:
        return prior.generated(pipe, host, prompt, counts[0], seed=seed, resolution=resolution, report=report)


def _loop(host, declared, pictures, class_pictures, plan, templates, folder, checkpoint_every, gradient_checkpointing):
    """The loop on a private clone, and the concept's phrase."""
    import torch

    from .examples import Examples, Source, TextConditions
    from .loop import PRECISIONS, Loop

    clone = host.private_clone(dtype=PRECISIONS[plan["precision"]] or torch.float32)
    token, noun, kind, seed = plan["token"], plan["noun"], plan["kind"], plan["seed"]
    data, resolution = declared.data, plan["resolution"]
    phrase = declared.scheme.phrase(token, noun, declared.space)

    def prompt(example, random):
        return data.prompts.pick(kind, phrase, example, random, noun=noun, templates=templates)

    def class_prompt(example, random):
        return example.caption or data.prior_prompt.format(noun=noun)

    concept_source = Source(clone, pictures, prompt, augmentation=data.augmentation, resolution=resolution)
    prior_source = class_pictures and Source(clone, class_pictures, class_prompt, resolution=resolution)
    clone.pipe.__dict__["vae"] = None if concept_source.static else clone.pipe.vae
    if gradient_checkpointing:
        clone.denoiser.enable_gradient_checkpointing()
    subject = Subject(token=token, noun=noun, seed=seed)
    learners = {(i, space.kind): space.prepare(clone, subject) for i, space in enumerate(declared.space)}
    encoders_change = any(space.trains_text and not space.adds_token for space in declared.space)
    new_word = any(space.adds_token for space in declared.space)
    text = TextConditions(clone, lambda prompt: encoders_change or (new_word and token in prompt))
    examples = Examples(concept_source, prior_source, batch_size=declared.method.batch_size, seed=seed)
    loop = Loop(
        host=clone,
        method=declared.method,
        learners=learners,
        examples=examples,
        text=text,
        seed=seed,
        precision=plan["precision"],
        folder=folder,
        checkpoint_every=checkpoint_every,
    )
    return loop, phrase


@dataclasses.dataclass
class _Maker:
    """Makes a concept of the loop's present state."""

    plan: dict
    declared: Recipe
    phrase: str
    licence: str
    consent: str

    def __call__(self, loop) -> Concept:
        losses = loop.record["losses"]
        stride = max(1, len(losses) // 100)
        curve = [
            round(sum(losses[i : i + stride]) / len(losses[i : i + stride]), 6) for i in range(0, len(losses), stride)
        ]
        plan = self.plan
        header = {
            "schema_version": SCHEMA_VERSION,
            **{key: plan[key] for key in ("recipe", "numbers", "token", "noun", "kind", "base_model")},
            "phrase": self.phrase,
            "spaces": [{"kind": space.kind, **dataclasses.asdict(space)} for space in self.declared.space],
            "training": {
                "steps": len(losses),
                "seconds": round(loop.record["seconds"], 2),
                "loss_curve": curve,
                "declaration": plan["declaration"],
                **{key: plan[key] for key in ("seed", "precision", "resolution", "images")},
                "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
            "licence": self.licence,
            "consent": self.consent,
            "versions": _versions(),
        }
        return Concept(header=json.loads(json.dumps(header, default=list)), tensors=loop.tensors())


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _preview(concept, pipe, prompt, seed, resolution):
    import torch

    with concept.attach(pipe):
        return pipe(
            prompt.format(phrase=concept.phrase),
            num_inference_steps=25,
            generator=torch.Generator().manual_seed(seed),
            height=resolution,
            width=resolution,
        ).images[0]


def _recent(losses, count=20):
    return sum(losses[-count:]) / len(losses[-count:])
