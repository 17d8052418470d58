"""Concept neurons: which weights a concept wants to be shut off, and weights without them.

Source: Liu et al., Cones, arXiv 2303.05125, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def select(scores: Mapping[str, Tensor], fraction: float) -> dict[str, Tensor]:
    """The weights with the highest positive scores, as ascending flat indices [n] (int64) of each tensor.

    Args:
        scores: accumulated gradient of each weight's scale; positive where lowering the weight lowers the loss.
        fraction: of all weights together that are taken at most; tensors with none are left out.
    """
    flat = torch.cat([score.flatten() for score in scores.values()])
    count = max(1, int(fraction * len(flat)))
    threshold = flat.topk(count).values[-1].clamp(min=0.0)
    found = {name: (score.flatten() >= threshold).logical_and(score.flatten() > 0) for name, score in scores.items()}
    return {name: chosen.nonzero().flatten() for name, chosen in found.items() if chosen.any()}


def shut_off(stock: Tensor, indices: Tensor, before: Sequence[tuple[Tensor, float]] = ()) -> Tensor:
    """The change that sets the weights at `indices` to zero: -W m, in the shape of `stock`.

    Args:
        stock: W.
        indices: flat, [n].
        before: (indices, strength) of masks that act already; what they have taken away is not taken twice, so that
            changes together give the union of the masks: W times the product of all (1 - strength m).

    Raises:
        RuntimeError: when an index is outside the weight.
    """
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < stock.numel():
        raise RuntimeError(f"an index outside of {stock.numel()} weights")
    remains = torch.ones(stock.numel(), dtype=stock.dtype, device=stock.device)
    for others, strength in before:
        remains[others] *= 1.0 - strength
    change = torch.zeros_like(remains)
    change[indices] = -stock.flatten()[indices] * remains[indices]
    return change.view_as(stock)


def union(masks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The weights that any of several concepts shuts off: the concepts together, as Cones concatenates them."""
    names = sorted({name for mask in masks for name in mask})
    return {name: torch.cat([mask[name] for mask in masks if name in mask]).unique() for name in names}
