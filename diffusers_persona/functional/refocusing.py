"""Attention that looks where it should not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention_maps import between_extremes


def attention_outside(maps: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of a word's mean map and its mask, with the maps taken as 1 inside the mask; a scalar.

    Each map is resized to the mask and stretched to [0, 1] first, so that only attention outside the mask costs.

    Source: Hyung et al., MagiCapture, arXiv 2309.06895, equation 9.

    Args:
        maps: of all heads and layers, [M, s, s].
        mask: [h, w] in [0, 1].
    """
    large = between_extremes(F.interpolate(maps[None], mask.shape, mode="bilinear")[0])
    return F.mse_loss(torch.where(mask < 0.5, large, 1.0).mean(0), mask)
