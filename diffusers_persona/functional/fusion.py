"""Guidance of several predictions, and the fusion step of ProFusion."""

from __future__ import annotations

from torch import Tensor


def summed_guidance(empty: Tensor, *guided: tuple[Tensor, float]) -> Tensor:
    """The prediction for no prompt, and for each (prediction, scale) scale times its difference from that.

    Source: ProFusion, arXiv 2305.13579, the refinement stage; several conditions: arXiv 2206.01714.
    """
    return empty + sum(scale * (prediction - empty) for prediction, scale in guided)


def reward_guidance(empty: Tensor, reference: Tensor, personal: Tensor, text: float, concept: float) -> Tensor:
    """eps_0 + text (eps_ref - eps_0) + concept (eps_personal - eps_ref).

    Source: Direct Consistency Optimization, arXiv 2402.12004, reward guidance.

    Args:
        empty, reference: the stock model's noise for no prompt and for the prompt in plain words, [B, c, h, w].
        personal: the personalised model's noise for the prompt.
    """
    return empty + text * (reference - empty) + concept * (personal - reference)


def fusion_step(
    noisy: Tensor, noise_estimate: Tensor, noise: Tensor, alpha: Tensor, before: Tensor, eta: float
) -> Tensor:
    """Moves z_t along a prediction and back up by fresh noise, at the same timestep.

    Source: ProFusion, arXiv 2305.13579, the fusion stage of its sampling, as the official code has it.

    Args:
        noisy, noise_estimate, noise: [B, c, h, w].
        alpha, before: cumulative products of the schedule at this timestep and at the next one of sampling, scalars.
        eta: sigma as a part of DDIM's.
    """
    sigma = eta * ((1 - before) / (1 - alpha) * (1 - alpha / before)).sqrt()
    down = sigma**2 * (1 - alpha).sqrt() / (1 - before)
    up = sigma * ((1 - alpha) * (2 - 2 * before - sigma**2)).sqrt() / (1 - before)
    return noisy - down * noise_estimate + up * noise
