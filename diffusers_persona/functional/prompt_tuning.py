"""A text encoder tuned for one prompt, and thrown away.

Source: Gallego, Personalizing Text-to-Image Generation via Aesthetic Gradients, arXiv 2209.12330, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def ascend_similarity(
    embed: Callable[[Mapping[str, Tensor]], Tensor],
    weights: Mapping[str, Tensor],
    target: Tensor,
    *,
    updates: int,
    lr: float,
) -> dict[str, Tensor]:
    """Weights after `updates` steps of Adam up the cosine of a text's embedding and `target`.

    Args:
        embed: weights -> the text's embedding [d].
        weights: name -> first value; they stay as they are.
        target: [d].
        updates: whole number >= 0.
        lr: learning rate.

    Returns:
        name -> tuned weight, without gradient.
    """
    aim = F.normalize(target.float(), dim=-1)
    tuned = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
    optimizer = torch.optim.Adam(tuned.values(), lr=lr)
    for _ in range(updates):
        optimizer.zero_grad(set_to_none=True)
        loss = -(F.normalize(embed(tuned).float(), dim=-1) @ aim)
        loss.backward()
        optimizer.step()
    return {name: value.detach() for name, value in tuned.items()}
