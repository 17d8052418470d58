"""Losses on what several LoRAs that are learned side by side take from each other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ..errors import PersonaError

if TYPE_CHECKING:
    from torch import Tensor

    from .step import Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class MergerOverlap:
    """The mean of |m_1 m_2| over the outputs, summed over the layers: two LoRAs shall not use the same outputs.

    m_1 and m_2 are the merger vectors of two spaces `LowRank(merger_rate=...)`. Source: UnZipLoRA, arXiv 2412.04465,
    section 3.2.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 0.5

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        lanes = [getattr(learner, "lane", None) for learner in step.learners.get("low_rank", [])]
        vectors = [lane.vectors() for lane in lanes if lane is not None]
        if len(vectors) != 2 or not vectors[0].keys() & vectors[1].keys():
            raise PersonaError("MergerOverlap needs two LowRank spaces of the same layers with merger_rate above 0")
        first, second = vectors
        return self.weight * sum((m * second[path]).abs().mean() for path, m in first.items() if path in second)
