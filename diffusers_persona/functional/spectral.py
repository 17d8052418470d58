"""Equations of spectral shifts: a weight's singular values move, its singular vectors stay.

Source: Han et al., SVDiff, arXiv 2303.11305, section 3.1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Spectrum(NamedTuple):
    """U [rows, n], s [n] in descending order, V^T [n, columns] of a weight as a matrix."""

    left: Tensor
    values: Tensor
    right: Tensor


def as_matrix(weight: Tensor) -> Tensor:
    """A weight as SVDiff decomposes it: kernels [out, in k k]; a vector [n] is one row [1, n]."""
    return weight.reshape(1, -1) if weight.ndim == 1 else weight.flatten(1)


def spectrum(weight: Tensor) -> Spectrum:
    """The singular value decomposition of a weight, in float32."""
    return Spectrum(*torch.linalg.svd(as_matrix(weight).float(), full_matrices=False))


def shifted(stock: Tensor, parts: Spectrum, shift: Tensor) -> Tensor:
    """The change of a weight by a spectral shift: U (relu(s + d) - s) V^T in the shape of `stock`.

    Args:
        stock: W of any shape.
        parts: its spectrum.
        shift: d, [n].

    Raises:
        RuntimeError: when the weight has another number of singular values.
    """
    if shift.shape != parts.values.shape:
        raise RuntimeError(f"a shift of {tuple(shift.shape)} for {len(parts.values)} singular values")
    change = torch.relu(parts.values + shift.to(parts.values)) - parts.values
    return ((parts.left * change) @ parts.right).reshape(stock.shape)
