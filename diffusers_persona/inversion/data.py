"""How pictures become learning examples: the prompts that name the concept, and the changes made to pictures."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import PersonaError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """The data of a recipe.

    Attributes:
        prompts: which prompt belongs to a picture (`prompts.Neutral`, `prompts.Fixed`, `prompts.Captions`).
        augmentation: changes made to a picture at each step, in this order.
        prior_prompt: the prompt of class pictures; ``{noun}`` is the class word.
        first: a `rehearsal.FirstConcept` that makes the pictures to learn from; None for the caller's own.
        ending: ends every prompt of the concept, with slots for named words: ``", {spare}"``.
        drop: probability that a picture is learned with the empty prompt, in [0, 1).
        parts: whether the noun names several things in the same pictures ("cup and toy"), each with a word of its own;
            recipes with a space for ``part="each"`` need not say so.
        needs: what every picture must come with: of ``"masks"`` and ``"captions"``.
    """

    prompts: Any
    augmentation: tuple = ()
    prior_prompt: str = "a {noun}"
    first: Any = None
    ending: str = ""
    drop: float = 0.0
    parts: bool = False
    needs: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "augmentation", tuple(self.augmentation))
        object.__setattr__(self, "needs", tuple(self.needs))
        if set(self.needs) - {"masks", "captions"} or not 0.0 <= self.drop < 1.0:
            raise PersonaError(
                f"Data(needs={self.needs}, drop={self.drop}): needs are of masks and captions, drop is in [0, 1)"
            )

    def check(self, pictures, parts: int = 1):
        """Checks that an `images.ImageSet` brings what this recipe needs.

        Raises:
            PersonaError: naming the first picture without it.
        """
        for example in pictures:
            if "masks" in self.needs and (example.mask is None or (parts > 1 and len(example.part_masks) != parts)):
                each = " for each thing that is learned" if parts > 1 else ""
                raise PersonaError(f"{example.source} has no mask{each}: this recipe needs them; give masks=")
            if "captions" in self.needs and not example.caption:
                raise PersonaError(
                    f"{example.source} has no caption: this recipe needs them; write one in metadata.jsonl or in a "
                    ".txt file of its name"
                )
