"""What the embeddings of names tell about the space of faces: their mean, spread and principal directions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def name_basis(vectors: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Mean [d] and the first principal directions [k, d] of embeddings [n, d], each direction of unit length.

    Source: Yuan et al., Celeb Basis, arXiv 2306.00926, section 3.2. The sign of a direction means nothing.

    Args:
        vectors: one embedding a name.
        components: k; as many as there are in [n, d] at most.
    """
    mean = vectors.mean(0)
    directions = torch.linalg.svd(vectors - mean, full_matrices=False).Vh
    return mean, directions[:components]


def in_basis(coefficients: Tensor, mean: Tensor, basis: Tensor) -> Tensor:
    """Word embeddings [..., positions, d]: mean + sum over k of coefficient k times direction k.

    Source: Celeb Basis, arXiv 2306.00926, equation 4.

    Args:
        coefficients: [..., positions, k].
        mean, basis: [positions, d] and [positions, k, d], of one name part (first, last) each.
    """
    return mean + torch.einsum("...pk,pkd->...pd", coefficients, basis)


def unit(coefficients: Tensor) -> Tensor:
    """Coefficients [..., k] of length 1."""
    return F.normalize(coefficients, dim=-1)


def name_statistics(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (unbiased) standard deviation [d] of embeddings [n, d]."""
    return vectors.mean(0), vectors.std(0)


def in_statistics(codes: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Word embeddings [..., positions, d] with the names' statistics: mean + deviation times normalised codes.

    Source: Wang et al., StableIdentity, arXiv 2401.15975, equation 2.
    """
    return mean + codes * deviation
