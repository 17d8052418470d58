"""Where words stand in rows of token ids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def occurrences(ids: Tensor, word: Sequence[int]) -> Tensor:
    """First positions of `word` in each row.

    Args:
        ids: token ids [B, L].
        word: the ids of a word's tokens, in order.

    Returns:
        bool [B, L]: whether the whole word begins here.
    """
    found = torch.zeros_like(ids, dtype=torch.bool)
    length = ids.shape[1] - len(word) + 1
    if not word or length < 1:
        return found
    found[:, :length] = torch.stack([ids[:, k : k + length] == token for k, token in enumerate(word)]).all(0)
    return found


def last_position(ids: Tensor, token: int) -> Tensor:
    """Position [B] of the first `token` behind the start of each row (the end token: where a text ends)."""
    here = ids == token
    here[:, 0] = False
    return here.int().argmax(1)
