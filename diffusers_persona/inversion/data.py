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
    """

    prompts: Any
    augmentation: tuple = ()
    prior_prompt: str = "a {noun}"

    def __post_init__(self):
        object.__setattr__(self, "augmentation", tuple(self.augmentation))
