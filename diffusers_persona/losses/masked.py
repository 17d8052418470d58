"""The denoising loss within a part of the picture: in the things that a prompt names, or where their words look."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnionDenoising:
    """The denoising loss within the union of the things that a row's prompt names, as a mean over ALL elements.

    Source: Avrahami et al., Break-A-Scene, arXiv 2305.16311, masked loss. Without masks it is the plain loss.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.0

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        from ..functional.attention_maps import masked_squared_error

        rows = slice(0, step.concept_rows)
        prediction, target = step.prediction[rows], step.target[rows]
        masks = things(step)
        union = prediction.new_ones(1, 1, 1, 1) if masks is None else masks.amax(1, keepdim=True)
        return self.weight * masked_squared_error(prediction, target, union)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttendedDenoising:
    """The denoising loss where the attention to the concept's words is strong, as a mean over ALL elements.

    Source: MCPL, arXiv 2310.12274, AttnMask: the words' maps are added, divided by the largest value and
    cut at a threshold.

    Attributes:
        threshold: in [0, 1).
    """

    needs: ClassVar[tuple[str, ...]] = ("attention",)

    weight: float = 1.0
    threshold: float = 0.3

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        import torch
        import torch.nn.functional as F

        from ..functional.attention_maps import by_maximum, masked_squared_error
        from .places import word_map

        count = step.concept_rows
        maps = step.attention.mean().detach()[:count].float()
        words = [part.token for part in step.subject.parts]
        found = [[word_map(step, maps[row], row, word) for word in words] for row in range(count)]
        masks = by_maximum(torch.stack([sum(own) for own in found])[:, None]) > self.threshold
        masks = F.interpolate(masks.float(), step.prediction.shape[-2:])
        return self.weight * masked_squared_error(step.prediction[:count], step.target[:count], masks)


def things(step: Step) -> Tensor | None:
    """The masks [B, parts, h, w] of the concept's rows, zero where a row's prompt does not name the thing; or None."""
    from .places import places

    masks = step.part_masks if step.part_masks is not None else step.masks
    if masks is None:
        return None
    masks = masks[: step.concept_rows].clone()
    for row in range(step.concept_rows):
        for number, part in enumerate(step.subject.parts[: masks.shape[1]]):
            if not places(step, row, part.token):
                masks[row, number] = 0.0
    return masks
