"""Token ids as exact small numbers beside a text state, so that conditions carry their prompt.

Base 256: a digit is exact in float16, bfloat16 and float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

DIGITS, BASE = 2, 256


def pack(state: Tensor, ids: Tensor) -> Tensor:
    """The text state [B, L, d] with the token ids [B, L] (below 65 536) as two digits more: [B, L, d + 2]."""
    ids = ids.to(state.device)
    digits = torch.stack([ids // BASE, ids % BASE], dim=-1).to(state.dtype)
    return torch.cat([state, digits], dim=-1)


def unpack(states: Tensor, widths: list[int]) -> tuple[Tensor, list[Tensor] | None]:
    """What `pack` made of each text encoder's state, side by side, taken apart.

    Args:
        states: [B, L, sum of (d + 2)], or [B, L, sum of d] when nothing was packed.
        widths: d of each text encoder.

    Returns:
        The states [B, L, sum of d], and the ids [B, L] of each text encoder or None.
    """
    if states.shape[-1] != sum(widths) + DIGITS * len(widths):
        return states, None
    parts = states.split([size for width in widths for size in (width, DIGITS)], dim=-1)
    ids = [digits.detach().round().long() for digits in parts[1::2]]
    return torch.cat(parts[::2], dim=-1), [i[..., 0] * BASE + i[..., 1] for i in ids]
