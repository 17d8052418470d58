"""Contrast between embeddings: what a learned vector should lie near to, and what away from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def steering(vectors: Tensor, positives: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Multi-instance InfoNCE: -log of the part of the similarity that falls on the positives, a scalar >= 0.

    Source: ReVersion, arXiv 2303.13495, relation-steering contrastive learning.

    Args:
        vectors: what is learned, [n, d]; their mean loss is taken.
        positives: [p, d], p >= 1; negatives: [q, d].
        temperature: divides the cosines, > 0.
    """
    others = torch.cat([positives, negatives])
    similarity = F.normalize(vectors, dim=-1) @ F.normalize(others, dim=-1).T / temperature
    return (similarity.logsumexp(1) - similarity[:, : len(positives)].logsumexp(1)).mean()


def squared_cosine(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared cosine between the vectors of [n, d] and of [m, d], a scalar in [0, 1]; 0 when orthogonal.

    Source: BRAT, arXiv 2408.04785, the bonus token.
    """
    return (F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T).pow(2).mean()
