"""Losses between a model that learns and its frozen twin, or its own view of other prompts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def row_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each row, [B], in float32."""
    return (prediction.float() - target.float()).pow(2).flatten(1).mean(1)


def consistency_preference(error: Tensor, reference_error: Tensor, beta: float) -> Tensor:
    """-log sigmoid(-beta (error - reference error)): the learned model should denoise better than its twin.

    Source: Direct Consistency Optimization, arXiv 2402.12004, the loss of its name.

    Args:
        error, reference_error: squared errors of both on the same noise, [B].
        beta: how dear it is to leave the twin.
    """
    return -F.logsigmoid(-beta * (error - reference_error)).mean()


def class_evidence(subject: Tensor, noun: Tensor, empty: Tensor, variance: Tensor) -> Tensor:
    """-log of the implicit classifier p(class | x_{t-1}) at the subject's denoised state, of each row, [B].

    Source: FaceChain-SuDe, arXiv 2403.06775, the regularisation of its name; the 1e-6 is the official code's.

    Args:
        subject, noun, empty: posterior means for the prompts of the subject, of its class and for none, [B, c, h, w].
        variance: of the posterior, [B].
    """
    return (row_error(subject, noun) - row_error(subject, empty)) / (2.0 * variance + 1e-6)


def derived_class(subject: Tensor, noun: Tensor, empty: Tensor, variance: Tensor, part: Tensor) -> Tensor:
    """`class_evidence` of the subject over `part`, in rows where the class prediction itself has less of it, [B].

    Source: FaceChain-SuDe, arXiv 2403.06775, the loss and its truncation.

    Args:
        part: the posterior mean's part of the clean latents, [B]; the others as of `class_evidence`.
    """
    evidence = class_evidence(subject, noun, empty, variance)
    counts = evidence.detach() > class_evidence(noun, noun, empty, variance)
    return counts * evidence / part


def distillation_pull(steer: Tensor, own: Tensor) -> Tensor:
    """What to multiply clean latents by: as the product falls, they move to what the frozen model denoises to.

    Source: PALP, arXiv 2401.06105, the prompt alignment score (as in Delta Denoising Score, arXiv 2304.07090).

    Args:
        steer: the frozen model's guided noise for the target prompt, [B, c, h, w].
        own: the learned model's guided noise for its own prompt.
    """
    return (steer - own).detach()


def guided(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (arXiv 2207.12598): scale 1 is the conditional prediction itself."""
    return torch.lerp(unconditional, conditional, scale)
