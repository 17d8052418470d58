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
    return torch.linalg.solve(identity + skewed, identity - skewed)  # the two factors commute


def butterfly(width: int, blocks: int, level: int) -> Tensor:
    """The order in which factor number `level` of a butterfly takes `width` entries into its blocks, [width].

    At level 0 entries stay where they are. At level l, in each run of 2^l blocks, the half-blocks with even numbers
    come first, then those with odd ones. Source: BOFT, section 4; the permutation of PEFT.
    """
    half, run = width // blocks // 2, 2**level * (width // blocks)
    order = torch.arange(width)
    if level == 0:
        return order
    halves = order.view(width // run, run // half, half)
    return torch.cat([halves[:, 0::2], halves[:, 1::2]], dim=1).flatten()


def rotate(weight: Tensor, blocks: Tensor) -> Tensor:
    """W Q^T for Q = Q_m ... Q_1, each Q_l block-diagonal in the butterfly's order of level l - 1.

    Args:
        weight: W, [out, in] or [out, in, k, k]; a kernel is rotated as a row of in k k entries.
        blocks: [m, r, b, b] with r b the length of a row.

    Raises:
        RuntimeError: when the blocks do not fill a row.
    """
    rows = weight.flatten(1)
    count, side = blocks.shape[1:3]
    if count * side != rows.shape[1]:
        raise RuntimeError(f"a rotation of {count * side} entries on rows of {rows.shape[1]}")
    for level, factor in enumerate(blocks):
        order = butterfly(rows.shape[1], count, level).to(rows.device)
        inward = rows if level == 0 else rows[:, order.argsort()]
        parts = inward.view(len(rows), count, side).transpose(0, 1) @ factor.transpose(-1, -2)
        outward = parts.transpose(0, 1).reshape(len(rows), -1)
        rows = outward if level == 0 else outward[:, order]
    return rows.view_as(weight)


def project(triangles: Tensor, limit: float) -> Tensor:
    """Triangles [..., n] of skew matrices, scaled back to Frobenius norm `limit` where they are larger (COFT)."""
    norms = math.sqrt(2) * torch.linalg.vector_norm(triangles, dim=-1, keepdim=True)
    return triangles * (limit / norms.clamp(min=1e-12)).clamp(max=1.0)


def drop(blocks: Tensor, share: float) -> Tensor:
    """Multiplicative dropout: of one factor, drawn at random, int(share r) of the r blocks become the identity.

    Args:
        blocks: [m, r, b, b]. Source: BOFT, section 5; as in PEFT.
    """
    factors, count, side, _ = blocks.shape
    chosen = int(torch.randint(0, factors, ()))
    replaced = torch.randperm(count)[: int(share * count)].to(blocks.device)
    dropped = torch.zeros(factors, count, 1, 1, dtype=torch.bool, device=blocks.device)
    dropped[chosen, replaced] = True
    return torch.where(dropped, torch.eye(side, dtype=blocks.dtype, device=blocks.device), blocks)
