"""Pictures as tensors, for networks that see them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def pixels_of(image: Image.Image) -> Tensor:
    """A PIL picture as [1, 3, H, W] in [-1, 1]."""
    array = np.asarray(image.convert("RGB"), dtype=np.float32) / 127.5 - 1.0
    return torch.from_numpy(array).permute(2, 0, 1)[None]


def resized(pixels: Tensor, side: int) -> Tensor:
    """Pictures [B, 3, H, W] at side x side, smoothed where they shrink. Differentiable."""
    return F.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False)
