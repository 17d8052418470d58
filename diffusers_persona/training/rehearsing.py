"""Runs before the run: their concepts choose a seed, or make the pictures that are learned from."""

from __future__ import annotations

import dataclasses

from ..errors import PersonaError
from ..inversion.images import Example, ImageSet
from ..spaces.base import named
from .plan import Settings, Subject
from .processes import Processes


def rehearsed(declared) -> bool:
    """Whether the recipe has a run before the run."""
    return declared.data.first is not None or getattr(declared.method, "choice", None) is not None


def rehearse(pipe, host, declared, subjects: list[Subject], settings: Settings, plan, processes):
    """The subjects with the pictures to learn from, and the plan with the seed to learn with.

    Everything follows from the seed, so that a resumed run does it once more and finds the same.
    """
    if not rehearsed(declared):
        return subjects, plan
    if len(subjects) > 1:
        raise PersonaError("this recipe has a run before the run; learn one concept at a time")
    subject = _with_made_pictures(pipe, host, declared, subjects[0], settings, plan, processes)
    if getattr(declared.method, "choice", None) is not None:
        seed = _chosen_seed(pipe, host, declared, subject, settings, plan, processes)
        plan = {**plan, "seed": seed, "chosen_seed": seed}
    return [subject], plan


def _chosen_seed(pipe, host, declared, subject, settings, plan, processes: Processes) -> int:
    """The seed that `declared.method.choice` finds best.

    Raises:
        PersonaError: the concept has no two words to compare.
    """
    choice, data = declared.method.choice, dataclasses.replace(declared.data, first=None)
    words = _words(declared, subject)
    if len(words) != 2:
        raise PersonaError(f"SeedChoice compares two words, and the concept has {len(words)}: {', '.join(words)}")
    steps = min(choice.steps, declared.method.steps)
    method = dataclasses.replace(declared.method, steps=steps, choice=None)
    scores = {}
    for seed in choice.seeds(settings.seed):
        concept = _learned(pipe, dataclasses.replace(declared, method=method, data=data), subject, settings, seed)
        scores[seed] = processes.main_does(
            lambda concept=concept: _two_word_score(pipe, host, concept, words, choice, plan["resolution"])
        )
    return max(scores, key=lambda seed: scores[seed])


def _with_made_pictures(pipe, host, declared, subject, settings, plan, processes: Processes) -> Subject:
    """The subject with the pictures to learn from: the caller's, or those that `declared.data.first` makes."""
    first = declared.data.first
    if first is None:
        return subject
    concept = _learned(pipe, first.recipe, subject, settings, settings.seed)
    examples = processes.main_does(
        lambda: _made(pipe, host, concept, subject, first, settings.seed, plan["resolution"])
    )
    return dataclasses.replace(subject, pictures=ImageSet(examples=tuple(examples)))


def _learned(pipe, declared, subject: Subject, settings: Settings, seed: int):
    """The concept of an ordinary run of `declared` on the caller's pictures, kept in memory."""
    from .learn import learn

    adds_word = any(space.adds_token for space in declared.space)
    return learn(
        pipe,
        subject.pictures,
        declared,
        token=subject.token if adds_word else None,
        noun=subject.noun,
        kind=subject.kind,
        seed=seed,
        precision=settings.precision,
        resolution=settings.resolution,
        gradient_checkpointing=settings.gradient_checkpointing,
        templates=settings.templates,
        prior_images=settings.prior_images if declared.method.class_pictures else None,
        progress=settings.progress,
    )


def _words(declared, subject: Subject) -> list[str]:
    return [named(subject.token, getattr(space, "name", "")) for space in declared.space if space.adds_token]


def _two_word_score(pipe, host, concept, words, choice, resolution) -> float:
    """`functional.consistency.two_word_score` of pictures that `concept` makes of each word alone."""
    from ..functional.consistency import two_word_score
    from .prior import drawn

    seeds = list(range(choice.pictures))
    how = {"steps": choice.sampling_steps, "guidance_scale": choice.guidance}
    with concept.attach(pipe):
        sets = [drawn(pipe, [word] * len(seeds), seeds, resolution, **how) for word in words]
    return float(two_word_score(*(_seen(host, pictures, choice.clip, resolution) for pictures in sets)))


def _made(pipe, host, concept, subject, first, seed, resolution) -> list[Example]:
    """The pictures of every prompt, each with the template that it is learned by as its caption."""
    from ..inversion.prompts import Things
    from .prior import drawn

    examples = []
    how = {"steps": first.sampling_steps, "guidance_scale": first.guidance}
    seeds = [seed * 100_003 + n for n in range(first.pictures)]
    with concept.attach(pipe):
        for number, prompt in enumerate(first.prompts):
            asked = Things((prompt,)).pick(subject.kind, concept.phrase)
            moved = [each + number * first.pictures for each in seeds]
            pictures = drawn(pipe, [asked] * first.pictures, moved, resolution, **how)
            pictures = _nearest(host, pictures, subject.pictures, first, resolution)
            examples += [Example(image=each, caption=prompt, source=f"picture of {asked!r}") for each in pictures]
    return examples


def _nearest(host, pictures, references, first, resolution) -> list:
    """Those of `pictures` that are nearest to the references, as many as are kept, in their order."""
    if first.keep in (0, len(pictures)):
        return pictures
    from torch.nn.functional import normalize

    seen, wanted = (
        normalize(_seen(host, each, first.clip, resolution), dim=-1)
        for each in (pictures, [example.image for example in references])
    )
    best = (seen @ wanted.T).mean(1).topk(first.keep).indices.sort().values
    return [pictures[i] for i in best.tolist()]


def _seen(host, pictures, clip: str, resolution: int):
    """CLIP's embeddings of PIL pictures, [N, d]."""
    import torch

    from ..encoders.clip import image_features
    from ..inversion.images import to_tensor

    features = image_features(host, clip or None)
    with torch.no_grad():
        pixels = torch.stack([to_tensor(picture, resolution) for picture in pictures])
        return features.images(pixels.to(host.device)).float().cpu()
