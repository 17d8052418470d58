"""Where a row's prompt has a word, and what the picture attends to there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import PersonaError

if TYPE_CHECKING:
    from torch import Tensor

    from .step import Step


def places(step: Step, row: int, word: str) -> list[int]:
    """The positions of `word` in the prompt of `row`, empty when it is not there; found once a prompt."""
    known = step.world.memory.setdefault("places", {})
    key = step.prompts[row], word
    if key not in known:
        known[key] = step.positions(*key)
    return known[key]


def word_map(step: Step, maps: Tensor, row: int, word: str) -> Tensor:
    """The attention [h, w] to `word` in the maps [h, w, L] of `row`: the mean over the word's positions.

    Raises:
        PersonaError: when the row's prompt does not hold the word.
    """
    found = places(step, row, word)
    if not found:
        raise PersonaError(
            f"the prompt {step.prompts[row]!r} does not hold {word!r}, whose attention this recipe guides; give "
            "templates= or captions that name every thing that is learned"
        )
    return maps[..., found].mean(-1)
