"""How pictures become learning examples: the prompts that name the concept, and the changes made to pictures."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """The data of a recipe.

    Attributes:
        prompts: which prompt belongs to a picture (`prompts.Neutral`, `prompts.Fixed`, `prompts.Captions`).
        augmentation: changes made to a picture at each step, in this order.
        prior_prompt: the prompt of class pictures; ``{noun}`` is the class word.
        drop: probability that a picture is learned with the empty prompt, in [0, 1).
        parts: whether the noun names several things in the same pictures ("cup and toy"), each with a word of its own;
            recipes with a space for ``part="each"`` need not say so.
    """

    prompts: Any
    augmentation: tuple = ()
    prior_prompt: str = "a {noun}"
    drop: float = 0.0
    parts: bool = False

    def __post_init__(self):
        object.__setattr__(self, "augmentation", tuple(self.augmentation))
