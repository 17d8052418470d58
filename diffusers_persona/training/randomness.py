"""Random numbers that depend on the place in the run alone: a resumed run draws what the first would have."""

from __future__ import annotations

import torch


def generator(*place: int) -> torch.Generator:
    """A CPU generator seeded by whole numbers, e.g. (seed, step, part)."""
    mixed = 0x9E3779B97F4A7C15
    for number in place:
        mixed = ((mixed ^ (number & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 29
    return torch.Generator().manual_seed(mixed & 0x7FFFFFFFFFFFFFFF)


def picks(total: int, count: int, start: int, seed: int) -> list[int]:
    """`count` indices below `total` from position `start` of an endless sequence of shuffled rounds."""
    chosen = []
    for position in range(start, start + count):
        order = torch.randperm(total, generator=generator(seed, position // total))
        chosen.append(int(order[position % total]))
    return chosen
