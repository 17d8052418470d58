"""The diffusion process in formulas."""

from __future__ import annotations

from torch import Tensor


def clean_estimate(prediction: Tensor, noisy: Tensor, alphas: Tensor, prediction_type: str = "epsilon") -> Tensor:
    """The clean latents x0 that a prediction means.

    Source: Ho et al., arXiv 2006.11239, equation 15; for v: Salimans and Ho, arXiv 2202.00512, appendix D.

    Args:
        prediction, noisy: [B, c, h, w].
        alphas: cumulative products of the schedule at each row's timestep, [B], in (0, 1].
        prediction_type: ``"epsilon"``, ``"v_prediction"`` or ``"sample"``.
    """
    signal = alphas.sqrt().view(-1, 1, 1, 1)
    noise = (1.0 - alphas).sqrt().view(-1, 1, 1, 1)
    if prediction_type == "v_prediction":
        return signal * noisy - noise * prediction
    return prediction if prediction_type == "sample" else (noisy - noise * prediction) / signal
