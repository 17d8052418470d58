"""A new word as a combination of known ones."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def combination(weights: Tensor, rows: Tensor, norm: float, take: int | None = None) -> Tensor:
    """The weighted sum of word embeddings, at a given length, [d].

    Source: CusConcept, arXiv 2410.00398, vocabulary-guided decomposition.

    Args:
        weights: of each word, [k]; rows: the words' embeddings, [k, d].
        norm: length of the result.
        take: how many words count, those of the largest weights; None for all.
    """
    if take is not None and take < len(weights):
        best = weights.abs().topk(take).indices
        weights, rows = weights[best], rows[best]
    return norm * F.normalize(weights @ rows, dim=-1)


def unexplained(weights: Tensor, rows: Tensor, whole: Tensor, take: int) -> Tensor:
    """1 - cos between the part of a combination that its `take` heaviest words make and the `whole`, a scalar.

    Source: CusConcept, arXiv 2410.00398; as of `combination`.
    """
    return 1.0 - F.cosine_similarity(combination(weights, rows, 1.0, take), whole, dim=-1)
