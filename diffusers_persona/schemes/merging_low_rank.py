"""Merges of LoRAs without learning: sums, and the content of one with the style of another."""

from __future__ import annotations

import dataclasses
import warnings
from typing import ClassVar

from ..errors import PersonaError
from .merging_parts import Materials, concept_of, factors, only, stacked


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sum:
    """W = W0 + sum of weight x B A.

    The merge of Orthogonal Adaptation (Po et al., arXiv 2312.02432, equation 9), whose concepts read orthogonal
    inputs, and of Block-wise LoRA (arXiv 2403.07500), whose concepts live in different blocks.

    Attributes:
        weight: of every concept.
        orthogonal: warn where two concepts read the same inputs: their sum is no longer what each learned.
    """

    kind: ClassVar[str] = "sum"

    weight: float = 1.0
    orthogonal: bool = False

    def __call__(self, concepts, pipe, materials: Materials):
        """One concept whose LoRA is the sum, of the sum of the ranks."""
        layers: dict[str, list] = {}
        for concept in concepts:
            for path, (down, up) in factors(concept).items():
                layers.setdefault(path, []).append((down, self.weight * up))
        shared = max(map(_overlap, layers.values()))
        if self.orthogonal and shared > 0.3:
            warnings.warn(
                f"the concepts read the same inputs (overlap {shared:.2f}, 0 for orthogonal ones) and will disturb "
                "each other; learn them with a shared basis, LowRank(basis='drawn')",
                stacklevel=2,
            )
        return concept_of(concepts, [stacked(layers)], merge=self.kind, weight=self.weight, overlap=round(shared, 4))


def _overlap(parts) -> float:
    """The largest cosine of the angles between the inputs that two of the LoRAs read, in [0, 1]."""
    import itertools

    import torch

    bases = [torch.linalg.qr(down.flatten(1).T)[0] for down, _ in parts]
    pairs = itertools.combinations(bases, 2)
    return max((float(torch.linalg.matrix_norm(a.T @ b, ord=2)) for a, b in pairs), default=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContentAndStyle:
    """The content of the first concept with the style of the second, each learned with the other beside it.

    Source: B-LoRA, Frenkel et al., arXiv 2403.14572, section 4.3 (blocks of two runs are put together).

    Attributes:
        content, style: names of the spaces that are taken.
    """

    kind: ClassVar[str] = "content_and_style"

    content: str = "content"
    style: str = "style"

    def __call__(self, concepts, pipe, materials: Materials):
        """One concept with two LoRAs."""
        if len(concepts) != 2:
            raise PersonaError(f"this merge takes two concepts, content and style; given: {len(concepts)}")
        halves = [only(concept, name) for concept, name in zip(concepts, (self.content, self.style))]
        spaces = [
            (space, half.tensors_of(i))
            for half in halves
            for i, space in enumerate(half.spaces)
            if not space.adds_token
        ]
        return concept_of(concepts, spaces, joint=" in ", merge=self.kind)
