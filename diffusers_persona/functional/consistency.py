"""How consistent sets of pictures are, as their embeddings tell."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def mean_cosine(first: Tensor, second: Tensor | None = None) -> Tensor:
    """Mean cosine between the rows of [N, d] and of [M, d]; of one set alone, between its different rows (N >= 2)."""
    first = F.normalize(first, dim=-1)
    if second is not None:
        return (first @ F.normalize(second, dim=-1).T).mean()
    similarity = first @ first.T
    count = len(first)
    return (similarity.sum() - similarity.diagonal().sum()) / (count * (count - 1))


def two_word_score(left: Tensor, right: Tensor) -> Tensor:
    """(C_l + C_r) + (min(C_l, C_r) - C_lr): high when each of two sets is alike in itself and unlike the other.

    Source: Inspiration Tree, arXiv 2305.18203, the choice of the seed.

    Args:
        left, right: embeddings of the pictures of two words, [N, d] and [M, d], of at least two rows each.
    """
    own, other = mean_cosine(left), mean_cosine(right)
    return own + other + own.minimum(other) - mean_cosine(left, right)


def most_alike(embeddings: Tensor, count: int) -> list[int]:
    """The numbers of the `count` rows of [N, d] whose mean cosine with the others is the highest, in their order."""
    unit = F.normalize(embeddings, dim=-1)
    likeness = (unit @ unit.T).sum(1)
    return sorted(likeness.topk(min(count, len(unit))).indices.tolist())
