"""Equations of gated rank-one editing of a linear map.

Source: Tewel et al., Perfusion (Key-Locked Rank One Editing), arXiv 2305.01644, equations 3 to 5; several concepts:
its section 4.3.
"""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_moment(encodings: Tensor, ridge: float = 1e-4) -> Tensor:
    """C^-1 of the uncentred second moment C of encodings [n, d], [d, d].

    `ridge`, in parts of C's mean eigenvalue, keeps directions that no encoding shows from counting without limit.
    """
    rows = encodings.cpu().double()  # not every device has this precision
    moment = rows.T @ rows / len(rows)
    moment += ridge * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)
    return torch.linalg.inv(moment).to(encodings)


def gated_projection(
    encodings: Tensor, inputs: Tensor, directions: Tensor, strengths: Tensor, bias: Tensor, temperature: Tensor
) -> tuple[Tensor, Tensor]:
    """What of an encoding goes through the stock map, and how far each concept's gate is open.

    Args:
        encodings: e, [..., d].
        inputs: each concept's i*, [n, d].
        directions: C^-1 i*, [n, d].
        strengths: [n]; at 1 the concept's part of e is taken out whole.
        bias, temperature: beta and tau of each gate, [n].

    Returns:
        e without its projection on the span of the i* (orthogonal under C^-1), [..., d]; and the gates
        sigmoid((e^T C^-1 i* / i*^T C^-1 i* - beta) / tau) times the strengths, [..., n].
    """
    similarities = encodings @ directions.T
    gram = directions @ inputs.T
    gates = torch.sigmoid((similarities / gram.diagonal() - bias) / temperature) * strengths
    coefficients = similarities @ torch.linalg.inv(gram).T
    return encodings - (coefficients * strengths) @ inputs, gates


def gated_edit(weight: Tensor, encodings: Tensor, target: Tensor, direction: Tensor, output: Tensor, beta, tau):
    """W (e - (e^T C^-1 i* / i*^T C^-1 i*) i*) + g o*, the edited map of one concept at full strength, [..., out].

    Args:
        weight: W, [out, d].
        encodings: e, [..., L, d].
        target, direction: i* and C^-1 i*, [d].
        output: o*, [out], or one for each position [L, out].
    """
    one = encodings.new_ones(1)
    rest, gates = gated_projection(encodings, target[None], direction[None], one, beta * one, tau * one)
    return torch.nn.functional.linear(rest, weight) + gates * output
