"""Layout guidance: words attend to their regions of the picture.

Source: Liu et al., Cones 2, arXiv 2305.19327, section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor


def region_weights(mask: Tensor, words: Tensor, active: float, inactive: float) -> Tensor:
    """Weight of each token at each place: `active` for the region's words inside it, `inactive` for them outside.

    Args:
        mask: the region, [N] in {0, 1}.
        words: whether each token is a word of the region's concept, [..., L].

    Returns:
        [..., N, L]; 0 for other tokens.
    """
    places = torch.where(mask > 0.5, active, inactive)
    return words[..., None, :] * places[:, None]


def layout_logits(query: Tensor, key: Tensor, weights: Tensor, sigma: Tensor | float, strength: float) -> Tensor:
    """What is added to the unscaled logits Q K^T: strength w log(1 + sigma^2) std(Q K^T).

    Args:
        query, key: [B, heads, N, c] and [B, heads, L, c].
        weights: w [B, N, L].
        sigma: noise level of a picture of unit scale: sqrt((1 - alpha) / alpha).
        strength: guidance weight.

    Returns:
        [B, 1, N, L].
    """
    spread = (query @ key.transpose(-1, -2)).flatten(1).std(1)
    level = torch.log1p(torch.as_tensor(sigma, dtype=query.dtype, device=query.device) ** 2)
    return (strength * level * spread[:, None, None] * weights)[:, None]


def region_mask(region, height: int, width: int, device=None) -> Tensor:
    """A region as a mask [height, width] in {0, 1}.

    Args:
        region: (left, top, right, bottom) as parts of the picture's sides, or a mask [H, W] in [0, 1].
    """
    if isinstance(region, Tensor):
        resized = torch.nn.functional.interpolate(region[None, None].float(), (height, width), mode="area")
        return (resized[0, 0] > 0.5).float().to(device)
    left, top, right, bottom = region
    mask = torch.zeros(height, width, device=device)
    rows = slice(int(top * height), max(int(top * height) + 1, round(bottom * height)))
    columns = slice(int(left * width), max(int(left * width) + 1, round(right * width)))
    mask[rows, columns] = 1.0
    return mask
