"""Losses on the denoiser's prediction."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


def squared_error(prediction: Tensor, target: Tensor, masks: Tensor | None) -> Tensor:
    """Mean squared error in float32, over the masked part where a mask is given (each picture weighs the same)."""
    error = (prediction.float() - target.float()).pow(2)
    if masks is None:
        return error.mean()
    weights = masks.float().expand_as(error)
    return ((error * weights).flatten(1).sum(1) / weights.flatten(1).sum(1).clamp(min=1e-6)).mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoising:
    """E |target - prediction|^2 on the concept's pictures; inside the masks where pictures have masks.

    Source: Ho et al., arXiv 2006.11239, equation 14. The target is the noise, or v for v-prediction hosts
    (arXiv 2202.00512).

    Attributes:
        masked: False counts the whole picture, also where pictures have masks (for something else).
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.0
    masked: bool = True

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        rows = slice(0, step.concept_rows)
        masks = step.masks[rows] if self.masked and step.masks is not None else None
        return self.weight * squared_error(step.prediction[rows], step.target[rows], masks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorPreservation:
    """The denoising loss on pictures of the class, so that the model does not forget what the class word means.

    Source: Ruiz et al., arXiv 2208.12242, equation 2. Pictures are generated once by the frozen model from "a
    <noun>", or come from the caller's folder of real pictures.

    Attributes:
        weight: lambda; 0 switches the loss, and the work for it, off.
        count: number of class pictures, where they are generated.
        real: the paper's prior set is real pictures; benchmarks give them where they have some.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.0
    count: int = 200
    real: bool = False

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        rows = slice(step.concept_rows, None)
        masks = None if step.masks is None else step.masks[rows]
        return self.weight * squared_error(step.prediction[rows], step.target[rows], masks)
