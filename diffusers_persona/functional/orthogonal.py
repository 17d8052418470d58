"""Equations of orthogonal fine-tuning: W' = W Q^T with an orthogonal Q made of small blocks.

Sources: Qiu et al., OFT, arXiv 2306.07280; Liu et al., BOFT, arXiv 2311.06243. The signs are those of the official
code of OFT and of PEFT, which agree: S = R's skew part, Q = (I - S)(I + S)^-1, rows of W rotated by Q.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def block_size(entries: int) -> int:
    """The side b of a skew matrix with b (b - 1) / 2 entries above its diagonal.

    Raises:
        ValueError: when no square matrix has so many.
    """
    side = (1 + math.isqrt(1 + 8 * entries)) // 2
    if side * (side - 1) // 2 != entries or side < 2:
        raise ValueError(f"{entries} entries are no triangle of a skew matrix")
    return side


def skew(triangle: Tensor) -> Tensor:
    """The skew matrix S [..., b, b] with these entries [..., b (b - 1) / 2] above its diagonal, row by row."""
    side = block_size(triangle.shape[-1])
    rows, columns = torch.triu_indices(side, side, 1, device=triangle.device)
    upper = triangle.new_zeros(*triangle.shape[:-1], side, side)
    upper[..., rows, columns] = triangle
    return upper - upper.transpose(-1, -2)


def triangle(matrix: Tensor) -> Tensor:
    """The entries above the diagonal of (R - R^T) / 2, [..., b (b - 1) / 2]: what of R [..., b, b] has an effect."""
    side = matrix.shape[-1]
    rows, columns = torch.triu_indices(side, side, 1, device=matrix.device)
    return ((matrix - matrix.transpose(-1, -2)) / 2)[..., rows, columns]


def cayley(skewed: Tensor) -> Tensor:
    """The orthogonal matrices (I - S)(I + S)^-1 of skew S [..., b, b]. Source: OFT, section 3.3."""
    identity = torch.eye(skewed.shape[-1], dtype=skewed.dtype, device=skewed.device)
    return 2.0 * torch.linalg.inv(identity + skewed) - identity  # I - S = 2 I - (I + S); I + S is never near singular


def butterfly(rows: Tensor, blocks: int, level: int, *, inverse: bool = False) -> Tensor:
    """Rows [..., n] in the order in which factor number `level` of a butterfly takes them into its r blocks.

    At level 0 entries stay where they are. At level l, in each run of 2^l blocks, the half-blocks with even numbers
    come first, then those with odd ones. Source: BOFT, section 4; the permutation of PEFT.
    """
    if level == 0:
        return rows
    half, run = rows.shape[-1] // blocks // 2, 2**level
    split = (2, run) if inverse else (run, 2)
    return rows.unflatten(-1, (-1, *split, half)).transpose(-3, -2).flatten(-4)


def rotate(weight: Tensor, blocks: Tensor) -> Tensor:
    """W Q^T for Q = Q_m ... Q_1, each Q_l block-diagonal in the butterfly's order of level l - 1.

    Args:
        weight: W, [..., out, in].
        blocks: [..., m, r, b, b] with r b = in.

    Raises:
        RuntimeError: when the blocks do not fill a row.
    """
    factors, count, side = blocks.shape[-4:-1]
    if count * side != weight.shape[-1]:
        raise RuntimeError(f"a rotation of {count * side} entries on rows of {weight.shape[-1]}")
    rows = weight
    for level in range(factors):
        parts = butterfly(rows, count, level, inverse=True).unflatten(-1, (count, side)).transpose(-3, -2)
        turned = (parts @ blocks[..., level, :, :, :].transpose(-1, -2)).transpose(-3, -2).flatten(-2)
        rows = butterfly(turned, count, level)
    return rows


def project(triangles: Tensor, limit: float) -> Tensor:
    """Triangles [..., n] of skew matrices, scaled back to Frobenius norm `limit` where they are larger (COFT)."""
    norms = math.sqrt(2) * torch.linalg.vector_norm(triangles, dim=-1, keepdim=True)
    return triangles * (limit / norms.clamp(min=1e-12)).clamp(max=1.0)


def drop(blocks: Tensor, share: float) -> Tensor:
    """Multiplicative dropout: of one factor, drawn at random, int(share r) of the r blocks become the identity.

    Args:
        blocks: [n, m, r, b, b], drawn for each of the n rotations. Source: BOFT, section 5; as in PEFT.
    """
    number, factors, count, side, _ = blocks.shape
    factor = torch.rand(number, factors).argsort(1) == 0
    block = torch.rand(number, count).argsort(1) < int(share * count)
    dropped = (factor[:, :, None] & block[:, None, :])[..., None, None].to(blocks.device)
    return torch.where(dropped, torch.eye(side, dtype=blocks.dtype, device=blocks.device), blocks)
