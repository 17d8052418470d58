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


def quasi_newton_merge(weight: Tensor, inputs: Tensor, outputs: Tensor, iterations: int) -> Tensor:
    """Gradient fusion: the weight that does with each concept's inputs what that concept's own weight does.

    Args:
        weight: W0, where the search begins, [out, in].
        inputs: X, the layer's inputs under all concepts, [n, in].
        outputs: what each row's own concept makes of it, [n, out].
        iterations: of L-BFGS (history 25, strong Wolfe line search).

    Returns:
        The best W seen in minimising |X W^T - outputs|^2, [out, in]. Source: Mix-of-Show, arXiv 2305.18292,
        equation 5.
    """
    found = weight.detach().clone().requires_grad_(True)
    best = {"loss": float("inf"), "weight": weight}
    optimizer = torch.optim.LBFGS(
        [found],
        max_iter=iterations,
        history_size=25,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-16,
        tolerance_change=1e-16,
    )

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(inputs @ found.T, outputs)
        loss.backward()
        if loss.item() < best["loss"]:
            best.update(loss=loss.item(), weight=found.detach().clone())
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return best["weight"]
