"""The space-time mapper: a word, and its textual bypass, as a function of timestep and layer.

Source: Alaluf et al., A Neural Space-Time Representation for Text-to-Image Personalization, arXiv 2305.15391,
section 4; the positional encoding is the random Fourier features of arXiv 2006.10739.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TRAINED = ("input_layer", "net.1", "net.2", "net.4", "net.5", "output_layer.0")
"""Layers of the mapper, by the official names; each has a weight and a bias."""


def positions_encoded(frequencies: Tensor, timesteps: Tensor, layers: Tensor) -> Tensor:
    """Unit vectors [N, 2 m] of the points (timestep, layer): [sin(w x), cos(w x)], without 2 pi.

    Args:
        frequencies: w [m, 2], drawn from N(0, sigma_t^2) and N(0, sigma_l^2).
        timesteps, layers: [N] each; raw training steps, and numbers from 0.
    """
    points = torch.stack([timesteps.to(frequencies), layers.to(frequencies)], dim=1) @ frequencies.T
    return F.normalize(torch.cat([points.sin(), points.cos()], dim=1), dim=1)


def anchors(frequencies: Tensor, times: int, layers: int, steps: int = 1000) -> Tensor:
    """First weight of the input layer [times x layers, 2 m]: the encodings of evenly spaced times at each layer."""
    grid = torch.cartesian_prod(torch.arange(0, steps, steps // times)[:times], torch.arange(layers)).to(frequencies)
    return positions_encoded(frequencies, grid[:, 0], grid[:, 1])


def hidden(parameters: dict[str, Tensor], encoded: Tensor) -> Tensor:
    """The mapper's hidden representation [N, h] of encoded positions [N, 2 m]; names as in `TRAINED`."""
    x = F.linear(encoded, parameters["input_layer.weight"], parameters["input_layer.bias"])
    for linear, norm in (("net.1", "net.2"), ("net.4", "net.5")):
        x = F.linear(x, parameters[f"{linear}.weight"], parameters[f"{linear}.bias"])
        x = F.layer_norm(x, x.shape[1:], parameters[f"{norm}.weight"], parameters[f"{norm}.bias"])
        x = F.leaky_relu(x, 0.01)
    return x


def truncated(x: Tensor, keep: Tensor) -> Tensor:
    """Nested dropout: of each row of x [N, h] the first `keep` [N] units stay, the others are 0."""
    return x * (torch.arange(x.shape[1], device=x.device) < keep[:, None])


def mapped(parameters: dict[str, Tensor], x: Tensor, norm: Tensor | float) -> Tensor:
    """The output layer's vectors [N, d or 2 d] of hidden ones [N, h], with length `norm`.

    With a bypass, word and bypass are the two halves of one vector: together they have that length.
    """
    return norm * F.normalize(
        F.linear(x, parameters["output_layer.0.weight"], parameters["output_layer.0.bias"]), dim=1
    )


def bypassed(state: Tensor, bypass: Tensor) -> Tensor:
    """The textual bypass: h + |h| b.

    Args:
        state: the text encoder's residual state h [N, L, d].
        bypass: b [N, d]; in the paper a unit vector times alpha = 0.2.
    """
    return state + state.norm(dim=-1, keepdim=True) * bypass.unsqueeze(-2)
