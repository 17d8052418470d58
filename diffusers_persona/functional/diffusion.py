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


def noise_estimate(prediction: Tensor, noisy: Tensor, alphas: Tensor, prediction_type: str = "epsilon") -> Tensor:
    """The noise that a prediction means; arguments as of `clean_estimate`."""
    if prediction_type == "epsilon":
        return prediction
    clean = clean_estimate(prediction, noisy, alphas, prediction_type)
    signal, deviation = alphas.sqrt().view(-1, 1, 1, 1), (1.0 - alphas).sqrt().view(-1, 1, 1, 1)
    return (noisy - signal * clean) / deviation


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: u + scale (c - u).

    Source: Ho and Salimans, arXiv 2207.12598, equation 6.
    """
    return unconditional + scale * (conditional - unconditional)


def posterior(clean: Tensor, noisy: Tensor, alphas: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The state one step before `noisy`: its mean, its variance [B], and the part of `clean` in the mean, [B].

    Source: Ho et al., arXiv 2006.11239, equations 6 and 7.

    Args:
        clean, noisy: [B, c, h, w].
        alphas, before: cumulative products of the schedule at each row's timestep and at the one before it, [B];
            before the first one it is 1.
    """
    beta = 1.0 - alphas / before
    of_clean = beta * before.sqrt() / (1.0 - alphas)
    of_noisy = (1.0 - before) * (1.0 - beta).sqrt() / (1.0 - alphas)
    mean = of_clean.view(-1, 1, 1, 1) * clean + of_noisy.view(-1, 1, 1, 1) * noisy
    return mean, beta * (1.0 - before) / (1.0 - alphas), of_clean
