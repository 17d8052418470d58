"""Weight-only quantisation for each output channel, with scales for each side of a weight.

Source: Ryu et al., Memory-Efficient Fine-Tuning for Quantized Diffusion Model (TuneQDM), arXiv 2401.04339,
section 3; rounding as in its official code.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Quantised(NamedTuple):
    """Integers less their zero points, as floats in the weight's shape, and the scales [out] of its rows."""

    centred: Tensor
    scales: Tensor


def quantise(weight: Tensor, bits: int) -> Quantised:
    """Asymmetric quantisation of each output channel to `bits` bits: W is about scale (W_int - zero).

    Args:
        weight: [out, ...], float32.
    """
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    rows = weight.flatten(1)
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    scales = ((high - low) / (most - least)).clamp(min=1e-8)
    zero = least - (low / scales).round()
    centred = (rows / scales + zero).round().clamp(least, most) - zero
    return Quantised(centred.view_as(weight), scales.flatten())


def rescaled(centred: Tensor, output: Tensor, inward: Tensor) -> Tensor:
    """(W_int - zero) times the scales of its output channels [out] and its input channels [in]."""
    sides = [1] * (centred.ndim - 2)
    return centred * output.view(-1, 1, *sides) * inward.view(1, -1, *sides)


def expert(timesteps: Tensor, total: int, experts: int) -> Tensor:
    """The number of the scales that each timestep uses: floor(t N / T), int64."""
    return (timesteps.long() * experts // total).clamp(0, experts - 1)
