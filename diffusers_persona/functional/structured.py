"""Equations of weight changes that are Hadamard or Kronecker products of small factors."""

from __future__ import annotations

import torch
from torch import Tensor


def tucker(core: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A convolution's kernel from a core and two factors.

    Args:
        core: t, [r, s, k, k].
        rows: [r, out].
        columns: [s, in].

    Returns:
        [out, in, k, k]: sum over r, s of rows[r, o] core[r, s] columns[s, i]. Source: FedPara, arXiv 2108.06098,
        proposition 3.
    """
    return torch.einsum("rshw,ro,si->oihw", core.float(), rows.float(), columns.float())


def hadamard(first: tuple[Tensor, Tensor, Tensor | None], second: tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
    """LoHa: the elementwise product of two low-rank matrices.

    Args:
        first, second: w_a [out, r], w_b [r, in] and None; or w_a [r, out], w_b [r, in] and a core t [r, r, k, k].

    Returns:
        (w1_a w1_b) * (w2_a w2_b), [out, in] or [out, in, k, k]. Source: FedPara, arXiv 2108.06098, equation 2.
    """
    one, other = (a.float() @ b.float() if t is None else tucker(t, a, b) for a, b, t in (first, second))
    return one * other


def kronecker(first: Tensor, second: Tensor) -> Tensor:
    """LoKr: the Kronecker product of two matrices; the second may be a kernel.

    Args:
        first: w1, [a, c].
        second: w2, [b, d] or [b, d, k, k].

    Returns:
        [a b, c d] or [a b, c d, k, k]. Source: KronA, arXiv 2212.10650, equation 3; LyCORIS, arXiv 2309.14859.
    """
    return torch.kron(first.float().reshape(*first.shape, *[1] * (second.ndim - 2)), second.float().contiguous())
