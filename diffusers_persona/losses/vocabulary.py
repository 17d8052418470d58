"""Losses for words that are put together from known ones, or that share a thing's prompt with others."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnPenalty:
    """The regularisers that the spaces themselves bring (`Learner.penalty`), summed."""

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.0

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        learners = [learner for group in step.learners.values() for learner in group]
        penalties = [learner.penalty() for learner in learners if learner.penalty is not None]
        return self.weight * sum(penalties, step.prediction.new_zeros(()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoisingWithout:
    """The denoising loss for the same noise and prompts without one of the concept's words: what is left must do.

    Source: CusConcept, arXiv 2410.00398 (its object word alone).

    Attributes:
        name: of the word that is left out, as of `spaces.Word`.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    name: str
    weight: float = 1.0

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        from ..spaces.base import named
        from .denoising import squared_error

        rows, word = slice(0, step.concept_rows), named(step.subject.token, self.name)
        prompts = [" ".join(prompt.replace(word, " ").split()) for prompt in step.prompts[rows]]
        prediction = step.denoise(step.noisy[rows], step.timesteps[rows], step.encode(prompts))
        masks = None if step.masks is None else step.masks[rows]
        return self.weight * squared_error(prediction, step.target[rows], masks)
