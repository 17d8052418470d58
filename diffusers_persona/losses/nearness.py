"""Losses that keep what learns near where it began."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class StayNear:
    """The mean distance of the words' vectors from their first values.

    Source: Pang et al., Cross Initialization, arXiv 2312.15905, equation 5 (the distance, not its square).
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 1e-5

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        import torch

        distances = [
            torch.pairwise_distance(vectors, learner.constants[name.replace(".embedding", ".initial")].to(vectors))
            for learner in step.learners["word"]
            for name, vectors in learner.parameters.items()
        ]
        return self.weight * torch.cat(distances).mean()
