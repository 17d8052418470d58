"""What happens before the run proper: seeds that are tried out, and pictures that a first concept makes."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import PersonaError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedChoice:
    """Several seeds learn for a while; the run goes on from the one whose words are the most consistent.

    Each word of the concept makes pictures of its own. Two words score (C1 + C2) + (min(C1, C2) - C12), where C1 and
    C2 are the mean similarities within the pictures of one word, and C12 that between them, as CLIP sees it.

    Source: Inspiration Tree, arXiv 2305.18203, the choice of the seed.

    Attributes:
        count: number of seeds; the first is the run's own.
        steps: of learning before the choice.
        pictures: made of each word.
        sampling_steps, guidance: of these pictures.
        clip: name of the CLIP that compares them (see `encoders.clip`); empty for the host's usual one.
    """

    count: int = 4
    steps: int = 200
    pictures: int = 40
    sampling_steps: int = 25
    guidance: float = 7.5
    clip: str = ""

    def __post_init__(self):
        if self.count < 2 or self.steps < 1 or self.pictures < 2:
            raise PersonaError("SeedChoice: give count of at least 2, steps of at least 1 and pictures of at least 2")

    def seeds(self, first: int) -> list[int]:
        """The seeds that are tried: the run's own first."""
        return [first + 1000 * n for n in range(self.count)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstConcept:
    """Pictures that a first run's concept makes: the run proper learns from them, in place of the caller's.

    Source: U-VAP, arXiv 2403.20231, self-augmentation (its sentences come from a language model; these are given).

    Attributes:
        recipe: the first run, a `Recipe`; it learns from the caller's pictures, under words of its own.
        prompts: of the pictures, with a place for each thing: ``"a {1} of a cat"``. Each is filled with the first
            concept's phrases to make pictures, and with the learned concept's to learn from them.
        pictures: made of each prompt.
        keep: how many pictures of each prompt are kept: those that CLIP finds nearest to the caller's; 0 for all.
        sampling_steps, guidance: of these pictures.
        clip: name of the CLIP that compares them (see `encoders.clip`); empty for the host's usual one.
    """

    recipe: Any
    prompts: tuple[str, ...]
    pictures: int = 1
    keep: int = 0
    sampling_steps: int = 50
    guidance: float = 7.5
    clip: str = ""

    def __post_init__(self):
        object.__setattr__(self, "prompts", tuple(self.prompts))
        if not self.prompts or self.pictures < 1 or not 0 <= self.keep <= self.pictures:
            raise PersonaError("FirstConcept: give prompts=, pictures of at least 1 and keep from 0 to pictures")
