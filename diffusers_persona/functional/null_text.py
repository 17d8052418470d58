"""Null-text inversion: unconditional embeddings, one a step, that lead guided sampling along a picture's trajectory.

Source: Mokady et al., Null-text Inversion for Editing Real Images using Guided Diffusion Models, arXiv 2211.09794,
section 3 and algorithm 1. The denoiser is any function ``noise(latents, timestep, condition)``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Noise = Callable[[Tensor, int, Tensor], Tensor]


def ddim_move(latents: Tensor, noise: Tensor, alpha: Tensor, target: Tensor) -> Tensor:
    """The deterministic DDIM step from noise level `alpha` to `target` (products of alphas), in either direction."""
    clean = (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()
    return target.sqrt() * clean + (1 - target).sqrt() * noise


def levels(timesteps: list[int], alphas: Tensor, final: Tensor, steps: int = 1000) -> tuple[Tensor, Tensor]:
    """The level of each timestep, and of the one that DDIM goes on to: `final` below 0."""
    stride = steps // len(timesteps)
    after = [t - stride for t in timesteps]
    return alphas[timesteps], torch.stack([alphas[t] if t >= 0 else final for t in after])


def ddim_inversion(noise: Noise, latents: Tensor, condition: Tensor, timesteps, here, after) -> list[Tensor]:
    """The pivot z*_0 .. z*_T of clean `latents`: DDIM run backwards without guidance.

    Args:
        timesteps: of sampling, descending; `here` and `after` their `levels`.
    """
    path = [latents]
    for i in reversed(range(len(timesteps))):
        path.append(ddim_move(path[-1], noise(path[-1], timesteps[i], condition), after[i], here[i]))
    return path


def optimised_nulls(
    noise: Noise,
    path: list[Tensor],
    condition: Tensor,
    null: Tensor,
    timesteps,
    here,
    after,
    *,
    guidance: float = 7.5,
    inner_steps: int = 10,
    lr: float = 1e-2,
    tolerance: float = 1e-5,
) -> list[Tensor]:
    """The unconditional embedding of each step, each begun with the one before.

    Args:
        path: the pivot, from `ddim_inversion`.
        condition, null: embeddings [1, L, d] of the prompt and of the empty prompt.
        lr: of Adam at step i: lr (1 - i / 100).
        tolerance: step i ends early below tolerance + 2e-5 i.
    """
    latents, found = path[-1], []
    for i, timestep in enumerate(timesteps):
        null = null.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([null], lr=lr * (1.0 - i / 100.0))
        with torch.no_grad():
            conditional = noise(latents, timestep, condition)

        def moved(null, latents=latents, timestep=timestep, conditional=conditional, i=i):
            free = noise(latents, timestep, null)
            return ddim_move(latents, free + guidance * (conditional - free), here[i], after[i])

        for _ in range(inner_steps):
            loss = torch.nn.functional.mse_loss(moved(null), path[-2 - i])
            (null.grad,) = torch.autograd.grad(loss, [null])
            optimizer.step()
            if loss.item() < tolerance + 2e-5 * i:
                break
        found.append(null.detach())
        with torch.no_grad():
            latents = moved(null)
    return found
