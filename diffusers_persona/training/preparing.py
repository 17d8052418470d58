"""From a plan to a loop: the private clone, what each concept trains in it, and where its examples come from."""

from __future__ import annotations

import torch

from .. import spaces
from ..inversion.images import example_to_tensors
from ..recipe import Recipe
from .examples import Examples, Source, TextConditions
from .loop import Loop, Student
from .making import fill_words
from .plan import Settings, Subject
from .precision import PRECISIONS


def prepare(
    host, declared: Recipe, subjects: list[Subject], class_pictures: list, plan: dict, settings: Settings, **options
) -> Loop:
    """The loop that learns all `subjects` in one private clone of `host`.

    Args:
        class_pictures: `ImageSet` of each subject's prior, or None.
        plan: the run's resolved numbers.
        options: `processes` and `folder` of the `Loop`.
    """
    needs = declared.method.needs
    clone = host.private_clone(dtype=PRECISIONS[plan["precision"]])
    stock = clone.private_clone() if "stock" in needs else None
    students = [_student(clone, declared, s, c, plan, settings) for s, c in zip(subjects, class_pictures)]
    if "pixels" not in needs and all(student.examples.concept.static for student in students):
        clone.pipe.__dict__["vae"] = None
    if settings.gradient_checkpointing:
        clone.denoiser.enable_gradient_checkpointing()
    encoders_change = any(space.trains_text and not space.adds_token for space in declared.space)
    words = [student.subject.word(space) for student in students for space in declared.space if space.adds_token]
    text = TextConditions(clone, lambda prompt: encoders_change or any(word in prompt for word in words))
    loop = Loop(
        host=clone,
        stock=stock,
        method=declared.method,
        students=students,
        text=text,
        precision=plan["precision"],
        checkpoint_every=settings.checkpoint_every,
        **options,
    )
    if not settings.keep_pipe:
        _free(host.pipe, loop, text_changes=encoders_change or bool(words))
    return loop


def _student(clone, declared, subject, class_pictures, plan, settings) -> Student:
    data, seed, resolution = declared.data, plan["seed"], plan["resolution"]

    learned = spaces.Subject(
        token=subject.token,
        noun=subject.noun,
        seed=seed,
        parts=subject.parts,
        pictures=subject.pictures,
        resolution=resolution,
    )

    def prompt(example, random):
        if data.drop and float(torch.rand((), generator=random)) < data.drop:
            return ""
        picked = data.prompts.pick(
            subject.kind, subject.phrase, example, random, noun=subject.noun, templates=settings.templates
        )
        return fill_words(picked + data.ending, learned, declared.space)

    def class_prompt(example, random):
        return example.caption or data.prior_prompt.format(noun=subject.noun)

    def fill(text):
        return fill_words(text, learned, declared.space)

    augmentation = _among_pictures(data.augmentation, subject, resolution)
    concept = Source(clone, subject.pictures, prompt, augmentation=augmentation, resolution=resolution, fill=fill)
    prior = class_pictures and Source(clone, class_pictures, class_prompt, resolution=resolution)
    learners = {(i, space.kind): space.prepare(clone, learned) for i, space in enumerate(declared.space)}
    for space, learner in zip(declared.space, learners.values()):
        learner.name = getattr(space, "name", "")
    return Student(
        subject=learned,
        learners=learners,
        examples=Examples(concept, prior, batch_size=declared.method.batch_size, seed=seed),
        seed=seed,
    )


def _among_pictures(augmentation, subject, resolution) -> list:
    """The steps of an augmentation; those that mix pictures are handed all of them."""
    if not any(hasattr(step, "among") for step in augmentation):
        return list(augmentation)
    examples = [(*example_to_tensors(example, resolution), example.part) for example in subject.pictures]
    phrases = subject.phrase.split(" and ")
    return [step.among(examples, phrases) if hasattr(step, "among") else step for step in augmentation]


@torch.no_grad()
def _free(pipe, loop: Loop, text_changes: bool):
    """Takes all models out of the user's pipeline, and out of the clone those that the run needs no more.

    Every batch is drawn once in advance, so that all pictures and prompts that will come up are encoded.
    """
    with loop.autocast():
        for number in range(loop.method.steps * loop.method.accumulation * loop.processes.count):
            for student in loop.students:
                batch, _ = student.examples.batch(number)
                if not text_changes:
                    loop.text.of(batch.prompts)
    needed = {loop.host.denoiser_name, *(loop.host.encoder_names if text_changes or loop.stock else ())}
    if "pixels" in loop.method.needs:
        needed.add("vae")
    for name, part in list(pipe.components.items()):
        if isinstance(part, torch.nn.Module):
            setattr(pipe, name, None)
            if name not in needed:
                loop.host.pipe.__dict__[name] = None
