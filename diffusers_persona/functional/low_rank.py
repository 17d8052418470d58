"""Equations of low-rank adapters."""

from __future__ import annotations

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
        magnitude: m, one value an output row, or None.

    Returns:
        W' - W with W' = W + scaling B A, or m (W + scaling B A) / |W + scaling B A| row by row
        (arXiv 2402.09353, equation 5), in the shape of `stock`.
    """
    change = scaling * product(down, up).to(stock)
    if magnitude is None:
        return change
    moved = stock + change
    norm = moved.flatten(1).norm(dim=1)
    return moved * (magnitude.flatten().to(stock) / norm).reshape(-1, *[1] * (stock.ndim - 1)) - stock
