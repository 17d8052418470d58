"""Attention maps in formulas: normalised, smoothed, thresholded, and held against masks, boxes and each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-8  # attention to a word may underflow to 0 everywhere


def by_maximum(maps: Tensor) -> Tensor:
    """Maps [..., h, w] divided by their own largest value; the gradient flows through the maximum, too."""
    return maps / maps.amax((-2, -1), keepdim=True).clamp(min=TINY)


def between_extremes(maps: Tensor, epsilon: float = TINY) -> Tensor:
    """Maps [..., h, w] stretched to [0, 1]: (a - min) / (max - min + epsilon)."""
    low = maps.amin((-2, -1), keepdim=True)
    return (maps - low) / (maps.amax((-2, -1), keepdim=True) - low + epsilon)


def smoothed(maps: Tensor, size: int = 3, deviation: float = 0.5) -> Tensor:
    """Maps [..., h, w] under a Gaussian kernel of `size` x `size`, mirrored at the edges.

    Args:
        size: odd number of pixels, below twice the maps' sides.
        deviation: of the Gaussian, in pixels.
    """
    offsets = torch.arange(size, device=maps.device, dtype=maps.dtype) - size // 2
    line = torch.exp(-(offsets**2) / (2 * deviation**2))
    kernel = torch.outer(line, line)
    flat = F.pad(maps.reshape(-1, 1, *maps.shape[-2:]), (size // 2,) * 4, mode="reflect")
    return F.conv2d(flat, (kernel / kernel.sum())[None, None]).view(maps.shape)


def soft_iou(first: Tensor, second: Tensor, smooth: float = 1.0) -> Tensor:
    """Intersection over union of soft masks [..., h, w] in [0, 1]: (sum ab + s) / (sum a + sum b - sum ab + s).

    Source: DisenDiff, arXiv 2403.18551, attention calibration.
    """
    both = (first * second).sum((-2, -1))
    return (both + smooth) / (first.sum((-2, -1)) + second.sum((-2, -1)) - both + smooth)


def otsu(maps: Tensor, levels: int = 10) -> Tensor:
    """The part of each map [B, N] that stands out, True inside.

    Source: ViCo, arXiv 2306.00971: of thresholds 0, 1/levels, ... on the map stretched to [0, 1], the
    first with the largest variance between the two classes. A value at the threshold is inside unless it is 0.
    """
    low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
    maps = (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    thresholds = torch.arange(levels, device=maps.device, dtype=maps.dtype) / levels
    above = (maps[:, None] >= thresholds[:, None]).to(maps)
    share = above.mean(-1)
    inside = (maps[:, None] * above).sum(-1) / above.sum(-1).clamp(min=1)
    outside = (maps[:, None] * (1 - above)).sum(-1) / (1 - above).sum(-1).clamp(min=1)
    variance = share * (1 - share) * (inside - outside) ** 2
    best = thresholds[variance.argmax(1)][:, None]
    return (maps >= best) & (maps > 0)


def outside(maps: Tensor, region: Tensor) -> Tensor:
    """How much of maps [..., h, w] lies outside a region [h, w] of zeros and ones: mean of (1 - inside / all)^2.

    Source: Compositional Inversion, arXiv 2312.08048, spatial inversion (after training-free layout control).
    """
    inside = (maps * region).sum((-2, -1)) / maps.sum((-2, -1)).clamp(min=TINY)
    return ((1.0 - inside) ** 2).mean()


def box_region(box, height: int, width: int, *, like: Tensor) -> Tensor:
    """A box (left, top, right, bottom) in [0, 1] as a region [height, width] of zeros and ones, one cell at least."""
    left, top, right, bottom = box
    region = torch.zeros(height, width, dtype=like.dtype, device=like.device)
    rows = slice(int(top * height), max(int(top * height) + 1, int(bottom * height)))
    region[rows, int(left * width) : max(int(left * width) + 1, int(right * width))] = 1.0
    return region


def masked_squared_error(prediction: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Mean over ALL elements of the squared difference of the masked tensors, so that small things weigh little.

    Source: Break-A-Scene, arXiv 2305.16311, masked diffusion loss. Masks are [B, 1, h, w].
    """
    masks = masks.float()
    return F.mse_loss(prediction.float() * masks, target.float() * masks)


def word_contrast(features: Tensor, temperature: float) -> Tensor:
    """InfoNCE of words: each is near to itself in the next row, and away from all other words of all rows.

    Source: MCPL, arXiv 2310.12274, PromptCL.

    Args:
        features: text features of n words in B prompts, [B, n, d], B >= 2.
        temperature: divides the cosines, > 0.
    """
    rows, words = features.shape[:2]
    flat = F.normalize(features.flatten(0, 1), dim=-1)
    similarity = flat @ flat.T / temperature
    same = torch.eye(rows * words, dtype=torch.bool, device=flat.device)
    positive = similarity[same.roll(words, 0)]
    return (similarity.masked_fill(same, float("-inf")).logsumexp(1) - positive).mean()
