"""Equations of low-rank adapters."""

from __future__ import annotations

import torch
from torch import Tensor


def product(down: Tensor, up: Tensor) -> Tensor:
    """B A, with the kernel's axes for convolutions.

    Args:
        down: A, [r, in] or [r, in, k, k].
        up: B, [out, r] or [out, r, 1, 1].

    Returns:
        [out, in] or [out, in, k, k]. Source: arXiv 2106.09685, equation 3.
    """
    flat = up.flatten(1).float() @ down.flatten(1).float()
    return flat.reshape(up.shape[0], *down.shape[1:])


def delta(stock: Tensor, down: Tensor, up: Tensor, scaling: float, magnitude: Tensor | None = None) -> Tensor:
    """The change of a weight by a low-rank adapter, without or with DoRA's magnitudes.

    Args:
        stock: W, [out, in] or [out, in, k, k], float32.
        scaling: alpha / r, or alpha / sqrt(r) when rank-stabilised.
        magnitude: m, as in `recompose`, or None.

    Returns:
        W' - W, in the shape of `stock`.
    """
    return recompose(stock, scaling * product(down, up).to(stock).reshape(stock.shape), magnitude)


def recompose(stock: Tensor, change: Tensor, magnitude: Tensor | None) -> Tensor:
    """The change of a weight whose magnitudes are learned apart from its direction.

    Args:
        stock: W, [out, in] or [out, in, k, k].
        change: what an adapter adds to W, in the same shape.
        magnitude: m: one value an output row, or [1, in] for one value an input column; None to leave it at `change`.

    Returns:
        W' - W with W' = m (W + change) / |W + change|, row by row (DoRA, arXiv 2402.09353, equation 5) or column by
        column (LyCORIS's other choice of the norm).
    """
    if magnitude is None:
        return change
    moved = stock + change
    by_column = magnitude.ndim == 2 and magnitude.shape[0] == 1
    axes = [axis for axis in range(stock.ndim) if axis != int(by_column)]
    norm = torch.linalg.vector_norm(moved, dim=axes, keepdim=True)
    return moved * (magnitude.to(stock).reshape(norm.shape) / norm) - stock


def compose_kernel(down: Tensor, mid: Tensor) -> Tensor:
    """The A [r, in, k, k] that a 1x1 convolution `down` [q, in, 1, 1] and a k x k one `mid` [r, q, k, k] make in turn.

    LoCon files split the kernels of convolutions so. Source: arXiv 2309.14859, section 3.1 (CP decomposition).
    """
    return torch.einsum("rqhw,qi->rihw", mid.float(), down.flatten(1).float())


def orthonormal_basis(width: int, seed: int = 0) -> Tensor:
    """A random orthonormal basis of the inputs of a layer, the same wherever `seed` is the same.

    Returns:
        Q, [width, width], with Q Q^T = 1. Sources: Pair Customization, arXiv 2408.01556, section 3.2 (rows of one
        basis for content and style); Orthogonal Adaptation, arXiv 2312.02432, section 4.2 (rows that each concept
        draws).
    """
    random = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(width, width, generator=random, dtype=torch.float64))[0].float()
