"""A linear map from one embedding space to another, from pairs."""

from __future__ import annotations

import torch
from torch import Tensor


def ridge(inputs: Tensor, targets: Tensor, penalty: float = 1e-2) -> Tensor:
    """argmin_W |X W - Y|^2 + penalty tr(X^T X) / d |W|^2.

    Args:
        inputs: X [N, d].
        targets: Y [N, e].

    Returns:
        W [d, e], float32.
    """
    x, y = inputs.double(), targets.double()
    gram = x.T @ x
    width = len(gram)
    damped = gram + penalty * gram.trace() / width * torch.eye(width, dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(damped, x.T @ y).float().contiguous()
