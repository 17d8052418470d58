"""Causal self-attention with further keys and values in front, which every query sees.

Source: CatVersion, arXiv 2311.14631, section 3.2; the constant `bias` on the prefix's logits is the released code's.
"""

from __future__ import annotations

import torch
from torch import Tensor


def prefix_attention(
    query: Tensor, key: Tensor, value: Tensor, prefix: Tensor, bias: float = 0.0, scale: float | None = None
) -> Tensor:
    """softmax(Q [K_prefix; K]^T scale + mask) [V_prefix; V].

    Args:
        query, key, value: [B, heads, L, c].
        prefix: keys and values of the n further tokens, [2, n, heads * c].
        bias: added to the prefix's logits.
        scale: of the logits; c ** -0.5 by default.

    Returns:
        [B, heads, L, c].
    """
    batch, heads, length, width = query.shape
    more = prefix.to(query).unflatten(-1, (heads, width)).transpose(1, 2)  # [2, heads, n, c]
    count = more.shape[2]
    keys, values = (
        torch.cat([own.expand(batch, -1, -1, -1), rest], dim=2) for own, rest in zip(more, (key, value), strict=True)
    )
    hidden = torch.full((length, length), float("-inf"), dtype=query.dtype, device=query.device).triu(1)
    mask = torch.cat([hidden.new_full((length, count), bias), hidden], dim=1)
    logits = query @ keys.transpose(-1, -2) * (width**-0.5 if scale is None else scale) + mask
    return logits.softmax(-1) @ values
