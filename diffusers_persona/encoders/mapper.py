"""Small networks that make words of what an encoder sees."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Mapper(nn.Module):
    """A residual multilayer perceptron, [B, in] -> [B, out], all hidden layers as wide as the output.

    The first layer is linear with LeakyReLU 0.2; each further one adds LeakyReLU(linear(LayerNorm(x))) to x. With
    `normalised`, the last of several layers is linear(LayerNorm(x)) alone and the output goes through a LayerNorm.

    Source: Celeb Basis, arXiv 2306.00926 (plain) and StableIdentity, arXiv 2401.15975 (normalised).

    Args:
        depth: number of linear layers; >= 1.
        gain: factor of weights and biases in use: they learn `gain` times more slowly.
        deviation: of the weights' normal start; biases start at 0.
    """

    def __init__(self, width_in, width_out, *, depth=1, gain=1.0, deviation=1.0, normalised=False):
        super().__init__()
        self.gain = gain
        self.layers = nn.ModuleList(nn.Linear(width_out if n else width_in, width_out) for n in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width_out) for _ in range(depth - 1))
        self.norm = nn.LayerNorm(width_out) if normalised else None
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [B, out]."""
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            normed = self.norms[number - 1](x) if number else x
            y = F.linear(normed, layer.weight * self.gain, layer.bias * self.gain)
            if self.norm is not None and number == last:
                x = y
            else:
                y = F.leaky_relu(y, 0.2)
                x = x + y if number else y
        return x if self.norm is None else self.norm(x)


def seeded(seed: int, make):
    """What `make()` builds, with its random start drawn by `seed` and torch's own generator left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
