"""Where in a picture a concept is, from its attention maps."""

from __future__ import annotations

from torch import Tensor


def attended(maps: Tensor) -> Tensor:
    """Where a concept's words are attended to: 1 where the map is above its median, else 0.

    Args:
        maps: attention of each place to the words, [B, n].

    Returns:
        [B, n]. Source: Personalized Residuals, arXiv 2405.12978, section 3.2 (localized attention-guided sampling).
    """
    return (maps > maps.median(dim=1, keepdim=True).values).to(maps.dtype)
