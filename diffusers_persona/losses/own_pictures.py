"""Losses for things that come with pictures of their own: a face from some, a style from others.

A mask says where the face is: pictures of the first thing count inside, those of the others outside.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

from .places import places
from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


def _shown(step: Step, row: int) -> int:
    """The number of the thing that a row's picture shows."""
    return step.subject.pictures[step.pictures[row]].part or 0


def _masked(step: Step, row: int) -> bool:
    return step.masks is not None and step.subject.pictures[step.pictures[row]].mask is not None


def _weights(step: Step, row: int) -> Tensor | None:
    """Where the row's picture counts, [1, h, w]; None for everywhere."""
    if not _masked(step, row):
        return None
    mask = step.masks[row].float()
    return mask if _shown(step, row) == 0 else 1.0 - mask


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnPictures:
    """The denoising loss of each picture where it counts; the further things' pictures weigh more to begin with.

    Source: Hyung et al., MagiCapture, arXiv 2309.06895, equations 3 and 4.

    Attributes:
        further: weight of the pictures of all things but the first, in the first half of the run.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.0
    further: float = 2.0

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        from .denoising import squared_error

        early, total = step.number < step.steps / 2, step.prediction.new_zeros(()).float()
        for row in range(step.concept_rows):
            weights, rows = _weights(step, row), slice(row, row + 1)
            weights = None if weights is None else weights[None]
            error = squared_error(step.prediction[rows], step.target[rows], weights)
            total = total + error * (self.further if early and _shown(step, row) else 1.0)
        return self.weight * total / step.concept_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refocusing:
    """The first thing's word looks at the face alone, the others' at the rest; pictures without masks count nothing.

    Source: Hyung et al., MagiCapture, arXiv 2309.06895, equations 8 and 9 (attention refocusing), in the layers with
    the second smallest maps.
    """

    needs: ClassVar[tuple[str, ...]] = ("attention",)

    weight: float = 2.5

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        import torch

        from ..functional.refocusing import attention_outside

        side = step.attention.sides[min(1, len(step.attention.sides) - 1)]
        layers = [maps for maps in step.attention.layers.values() if math.isqrt(maps.shape[2]) == side]
        losses = []
        for row in range(step.concept_rows):
            if not _masked(step, row):
                continue
            maps = torch.cat([layer[row] for layer in layers]).float()  # [layers * heads, side * side, L]
            face = step.masks[row, 0].float()
            for number, part in enumerate(step.subject.parts):
                found = places(step, row, part.token)
                if found:
                    own = maps[:, :, found].mean(-1).view(-1, side, side)
                    losses.append(attention_outside(own, 1.0 - face if number else face))
        if not losses:
            return step.prediction.sum() * 0.0
        return self.weight * torch.stack(losses).mean()
