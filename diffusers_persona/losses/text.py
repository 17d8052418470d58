"""Losses on what a text encoder makes of a text, against its frozen twin."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherTokens:
    """start |E(p) - E0(p)| at the start token + rest |E(p) - E0(p)| at all tokens behind the class word.

    Source: Liu et al., Cones 2, arXiv 2305.19327, equation 2; the two weights are those of the released code.

    Attributes:
        start, rest: weights of the two norms.
    """

    needs: ClassVar[tuple[str, ...]] = ("stock",)

    weight: float = 1.0
    start: float = 1e-2
    rest: float = 1e-3

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar: the mean over the rows."""
        import torch

        rows = slice(0, step.concept_rows)
        prompts = step.prompts[rows]
        change = _text(step.conditions)[rows].float() - _text(step.stock_encode(prompts)).float()
        terms = []
        for prompt, row in zip(prompts, change):
            behind = max(step.positions(prompt, step.subject.noun), default=0) + 1
            norms = [torch.linalg.vector_norm(part) for part in (row[:1], row[behind:])]
            terms.append(self.start * norms[0] + self.rest * norms[1])
        return self.weight * torch.stack(terms).mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnowledgePreservation:
    """1 - cos(E(p), E0(p)), the mean over the tokens of prompts of the class: what the words mean stays.

    Source: Park et al., TextBoost, arXiv 2409.08248, section 3.

    Attributes:
        prompts: texts with ``{noun}``; each step takes as many as the concept has rows, in turn.
    """

    needs: ClassVar[tuple[str, ...]] = ("stock",)

    weight: float = 0.1
    prompts: tuple[str, ...] = ("a photo of a {noun}",)

    def __post_init__(self):
        object.__setattr__(self, "prompts", tuple(self.prompts))

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        from torch.nn import functional as F

        count = step.concept_rows
        chosen = [self.prompts[(step.number * count + i) % len(self.prompts)] for i in range(count)]
        texts = [text.format(noun=step.subject.noun) for text in dict.fromkeys(chosen)]
        now, before = _text(step.encode(texts)), _text(step.stock_encode(texts))
        return self.weight * (1.0 - F.cosine_similarity(now.float(), before.float(), dim=-1)).mean()


def _text(conditions: dict) -> Tensor:
    return conditions["encoder_hidden_states"]
