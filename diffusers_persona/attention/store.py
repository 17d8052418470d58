"""Cross-attention maps of a host that learns.

The store works on a private clone only: it takes the place of the layers' processors, so that the softmax which the
picture is made with is the one that is kept, once.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class AttentionView:
    """The maps of one forward pass.

    Attributes:
        layers: path of a cross-attention layer -> probabilities [B, heads, h * w, L], with gradient.
    """

    layers: dict[str, Tensor]

    def rows(self, start: int, stop: int) -> AttentionView:
        """The maps of rows `start` to `stop`."""
        return AttentionView({path: maps[start:stop] for path, maps in self.layers.items()})

    @property
    def sides(self) -> list[int]:
        """Sides of the square maps that there are, the smallest first."""
        return sorted({math.isqrt(maps.shape[2]) for maps in self.layers.values()})

    def mean(self, side: int | None = None) -> Tensor:
        """Mean over heads and all layers with maps of one size, [B, side, side, L].

        Args:
            side: of the maps; the nearest that there is. None for the second smallest, the papers' 16 of
                (8, 16, 32, 64).
        """
        present = self.sides
        wanted = present[min(1, len(present) - 1)] if side is None else min(present, key=lambda s: abs(s - side))
        chosen = [maps.mean(1) for maps in self.layers.values() if math.isqrt(maps.shape[2]) == wanted]
        mean = torch.stack(chosen).mean(0)
        return mean.view(len(mean), wanted, wanted, -1)

    def whole(self, side: int | None = None) -> Tensor:
        """Mean over heads and ALL layers, maps resized to `side` (None: the largest), [B, side, side, L]."""
        side = side or max(self.sides)
        means = [self.mean(own).permute(0, 3, 1, 2) for own in self.sides]
        counts = [sum(math.isqrt(maps.shape[2]) == own for maps in self.layers.values()) for own in self.sides]
        resized = [F.interpolate(mean, (side, side), mode="bilinear") for mean in means]
        return (sum(n * mean for n, mean in zip(counts, resized)) / sum(counts)).permute(0, 2, 3, 1)


class AttentionStore:
    """Records each forward pass of a private clone; `take` hands the maps over and forgets them."""

    def __init__(self, host):
        self.layers: dict[str, Tensor] = {}
        for path in host.attention_layers("cross"):
            host.denoiser.get_submodule(path).set_processor(_Recording(self.layers, path))

    def take(self) -> AttentionView:
        """The maps of the last pass."""
        view = AttentionView(dict(self.layers))
        self.layers.clear()
        return view


class _Recording:
    """The plain attention of diffusers' transformer blocks with an explicit softmax."""

    def __init__(self, layers: dict[str, Tensor], path: str):
        self.layers, self.path = layers, path

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **kwargs):
        """The layer's output [B, N, c]."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        query, key, value = (
            attn.head_to_batch_dim(project(states))
            for project, states in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        weights = attn.get_attention_scores(query, key, attention_mask)
        self.layers[self.path] = weights.view(-1, attn.heads, *weights.shape[1:])
        output = attn.batch_to_head_dim(torch.bmm(weights, value))
        return attn.to_out[1](attn.to_out[0](output))
