"""Contrast between the words of one prompt."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ..errors import PersonaError
from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptContrast:
    """Words learned from the same pictures stay apart in the text encoder's output.

    Source: MCPL, arXiv 2310.12274, PromptCL and "bind adjective": adjectives that describe the things
    are further examples of their words.

    Attributes:
        temperature: divides the cosines, > 0.
        adjectives: one for each thing, in their order, as the prompts have them; empty for none.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 5e-4
    temperature: float = 0.2
    adjectives: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "adjectives", tuple(self.adjectives))

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar; 0 for one row without adjectives, which has nothing to hold words against.

        Raises:
            PersonaError: for a number of adjectives that is not that of the things.
        """
        import torch

        from ..functional.attention_maps import word_contrast

        words = [part.token for part in step.subject.parts]
        if self.adjectives and len(self.adjectives) != len(words):
            raise PersonaError(f"adjectives={self.adjectives}: give one for each of {', '.join(words)}")
        states = step.conditions["encoder_hidden_states"]
        groups = [words, *([list(self.adjectives)] if self.adjectives else [])]
        rows = [self._features(step, states, row, group) for group in groups for row in range(step.concept_rows)]
        return (
            self.weight * word_contrast(torch.stack(rows), self.temperature) if len(rows) > 1 else states.new_zeros(())
        )

    def _features(self, step, states, row, words):
        import torch

        from .places import word_map

        return torch.stack([word_map(step, states[row].float().T, row, word) for word in words])
