"""Equations that make one set of weights from several."""

from __future__ import annotations

import torch
from torch import Tensor


def constrained_merge(weight: Tensor, regularisation: Tensor, targets: Tensor, values: Tensor) -> Tensor:
    """The weight nearest to the stock one on ordinary text that maps each concept's text to that concept's values.

    Args:
        weight: W0, [out, in].
        regularisation: C_reg, text features of ordinary captions, [n, in].
        targets: C, text features of the concepts' prompts, [m, in].
        values: V, each concept's own W_n C^T, [m, out].

    Returns:
        W = W0 + v^T d with d = C (C_reg^T C_reg)^-1 and v^T = (V^T - W0 C^T)(d C^T)^-1, [out, in]: the minimum of
        |W C_reg^T - W0 C_reg^T| under W C^T = V. Source: arXiv 2212.04488, equations 4 and 5.
    """
    dtype = weight.dtype
    weight, regularisation, targets, values = (t.double() for t in (weight, regularisation, targets, values))
    moment = regularisation.T @ regularisation
    directions = torch.linalg.solve(moment, targets.T).T
    coefficients = torch.linalg.solve((directions @ targets.T).T, (values.T - weight @ targets.T).T).T
    return (weight + coefficients @ directions).to(dtype)


def unique_rows(rows: Tensor, *companions: Tensor) -> tuple[Tensor, ...]:
    """`rows` [m, d] without exact repetitions, first ones kept, and the same rows of the companions."""
    _, inverse = torch.unique(rows, dim=0, return_inverse=True)
    order = torch.arange(len(rows))
    first = torch.full((int(inverse.max()) + 1,), len(rows)).scatter_reduce(0, inverse, order, "amin").sort().values
    return tuple(t[first] for t in (rows, *companions))
