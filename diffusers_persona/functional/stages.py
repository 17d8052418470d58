"""ProSpect's network: one embedding becomes the n embeddings of a word, one for each stage of the denoising.

Source: Zhang et al., ProSpect: Prompt Spectrum for Attribute-Aware Personalization of Diffusion Models, arXiv
2305.16225, section 4.1, and the transformer block of its official code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHAPES = {
    "norm1.weight": ("d",),
    "norm1.bias": ("d",),
    "attn1.to_v.weight": ("a", "d"),
    "attn1.to_out.0.weight": ("d", "a"),
    "attn1.to_out.0.bias": ("d",),
    "norm2.weight": ("d",),
    "norm2.bias": ("d",),
    "attn2.to_v.weight": ("a", "d"),
    "attn2.to_out.0.weight": ("d", "a"),
    "attn2.to_out.0.bias": ("d",),
    "norm3.weight": ("d",),
    "norm3.bias": ("d",),
    "ff.net.0.proj.weight": ("8d", "d"),
    "ff.net.0.proj.bias": ("8d",),
    "ff.net.2.weight": ("nd", "4d"),
    "ff.net.2.bias": ("nd",),
}
"""Parameters by the official names: d is the embeddings' width, a the attention's, n the number of stages."""


def shapes(width: int, attention: int, stages: int) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter."""
    sizes = {"d": width, "a": attention, "4d": 4 * width, "8d": 8 * width, "nd": stages * width}
    return {name: tuple(sizes[side] for side in sides) for name, sides in SHAPES.items()}


def stage(timestep: float, stages: int, steps: int = 1000) -> int:
    """The stage of a timestep: 0 for the least noise, stages - 1 for the most."""
    return min(int(timestep * stages / steps), stages - 1)


def stage_embeddings(parameters: dict[str, Tensor], initial: Tensor, dropout: float = 0.0, random=None) -> Tensor:
    """The embeddings [n, d] of all stages, from the initial one [d].

    A transformer block of one position: the attention's weights over one position are 1, so that its queries and keys
    have no effect and are no parameters here. The last layer has no residual.

    Args:
        dropout: of the attentions' outputs and inside the last layer, in learning.
        random: the generator that draws it; None for no dropout.
    """

    def drop(x):
        if random is None or not dropout:
            return x
        return x * (torch.rand(x.shape, generator=random) >= dropout).to(x) / (1.0 - dropout)

    def norm(x, name):
        return F.layer_norm(x, x.shape, parameters[f"{name}.weight"], parameters[f"{name}.bias"])

    def attend(x, name):
        x = F.linear(x, parameters[f"{name}.to_v.weight"])
        return drop(F.linear(x, parameters[f"{name}.to_out.0.weight"], parameters[f"{name}.to_out.0.bias"]))

    x = initial + attend(norm(initial, "norm1"), "attn1")
    x = x + attend(initial, "attn2")
    x = F.linear(norm(x, "norm3"), parameters["ff.net.0.proj.weight"], parameters["ff.net.0.proj.bias"])
    value, gate = x.chunk(2)
    x = F.linear(drop(value * F.gelu(gate)), parameters["ff.net.2.weight"], parameters["ff.net.2.bias"])
    return torch.stack(x.split(len(initial)))
