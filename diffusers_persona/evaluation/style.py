"""Likeness of styles: what is the same in all pictures of a style, whatever they show.

A style is described by the statistics of a network's first feature maps, as in style transfer by their means and
deviations (Huang and Belongie, arXiv 1703.06868, equation 5), less those of plain pictures.
"""

from collections.abc import Sequence
from typing import Any

import torch

LAYERS = 2
"""Layers that count, from the first: later ones tell what is shown."""


def style_statistics(layers: Sequence[Any], centre: torch.Tensor | None = None) -> torch.Tensor:
    """The style of each picture, a unit vector, [N, d]; a cosine of two is near 1 for pictures of one style.

    Args:
        layers: feature maps [N, channels, ...places] of each layer, the first layer first.
        centre: mean of `plain_statistics` of plain pictures, [d]; None for zero.
    """
    statistics = plain_statistics(layers)
    return torch.nn.functional.normalize(statistics if centre is None else statistics - centre, dim=1)


def plain_statistics(layers: Sequence[Any]) -> torch.Tensor:
    """Means and deviations of the channels over places, each layer at unit length, [N, d]."""
    parts = []
    for layer in layers[:LAYERS]:
        values = torch.as_tensor(layer).float().flatten(2)
        both = torch.cat([values.mean(dim=2), values.std(dim=2)], dim=1)
        parts.append(torch.nn.functional.normalize(both, dim=1))
    return torch.cat(parts, dim=1)
