"""The concept that a loop has found: header and tensors, and a picture of it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json

from ..concept import SCHEMA_VERSION, Concept
from ..recipe import Recipe
from ..spaces.base import Subject as Named
from .plan import Subject

PACKAGES = ("diffusers_persona", "diffusers", "transformers", "peft", "torch", "safetensors")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes a concept of the present state of a loop's student number `number`.

    Attributes:
        plan: what was settled before the first step.
        declared: the recipe.
        subject: the concept before learning.
        chosen_seed: the seed that a run before the run has chosen, or None.
    """

    plan: dict
    declared: Recipe
    subject: Subject
    licence: str
    consent: str
    number: int = 0
    chosen_seed: int | None = None

    def __call__(self, loop) -> Concept:
        """The concept now."""
        plan, losses = self.plan, loop.record["losses"][self.number]
        spaces = [self._with_word(space) for space in self.declared.space]
        header = {
            "schema_version": SCHEMA_VERSION,
            **{key: plan[key] for key in ("recipe", "numbers", "token", "noun", "kind", "base_model")},
            "phrase": self.subject.phrase,
            **({"negative": negative} if (negative := self._negative()) else {}),
            "spaces": [{"kind": space.kind, **dataclasses.asdict(space)} for space in spaces],
            "training": {
                "steps": len(losses),
                "seconds": round(loop.record["seconds"], 2),
                "loss_curve": _curve(losses),
                "declaration": plan["declaration"],
                **({} if self.chosen_seed is None else {"chosen_seed": self.chosen_seed}),
                **{key: plan[key] for key in ("seed", "precision", "resolution", "processes", "images")},
                "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
            "licence": self.licence,
            "consent": self.consent,
            "versions": _versions(),
        }
        return Concept(header=json.loads(json.dumps(header, default=list)), tensors=loop.tensors(self.number))

    def _with_word(self, space):
        """The space with its word written down, unless the word is the concept's own."""
        word = self._subject().word(space) if space.adds_token else None
        return space if word in (None, self.plan["token"]) else dataclasses.replace(space, token=word)

    def _negative(self) -> str:
        template = getattr(self.declared.scheme, "negative", "")
        return fill_words(template, self._subject(), self.declared.space)

    def _subject(self) -> Named:
        return Named(token=self.subject.token, noun=self.subject.noun, parts=self.subject.parts)


def fill_words(template: str, subject, declared_spaces) -> str:
    """`template` with the words of named spaces in their slots: ``"{neg}"`` -> ``"<toy-neg>"``."""
    for space in declared_spaces:
        if space.adds_token and getattr(space, "name", ""):
            template = template.replace(f"{{{space.name}}}", subject.word(space))
    return template


def _curve(losses, points=100):
    stride = max(1, len(losses) // points)
    parts = [losses[i : i + stride] for i in range(0, len(losses), stride)]
    return [round(sum(part) / len(part), 6) for part in parts]


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def preview(concept: Concept, pipe, prompt: str, seed: int, resolution: int):
    """A picture of `concept` through the public path: attached to the user's pipeline, and detached again."""
    import torch

    with concept.attach(pipe):
        return pipe(
            prompt.format(phrase=concept.phrase),
            negative_prompt=concept.negative or None,
            num_inference_steps=25,
            generator=torch.Generator().manual_seed(seed),
            height=resolution,
            width=resolution,
        ).images[0]
