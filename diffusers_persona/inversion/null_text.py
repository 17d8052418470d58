"""Null-text inversion of one picture: the noise that it comes from, and the null text that leads back to it.

Source: Mokady et al., Null-text Inversion for Editing Real Images using Guided Diffusion Models, arXiv 2211.09794.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class NullTextInversion:
    """What `invert` finds.

    Attributes:
        latents: the noise z_T [1, c, h, w]: the `latents=` of sampling.
        tensors: of a `spaces.NullText`.
    """

    latents: Tensor
    tensors: dict[str, Tensor]


def invert(
    pipe,
    picture,
    prompt: str,
    *,
    steps: int = 50,
    guidance: float = 7.5,
    inner_steps: int = 10,
    lr: float = 1e-2,
    tolerance: float = 1e-5,
) -> NullTextInversion:
    """Finds the trajectory of a picture, and the null text that keeps guided DDIM sampling on it.

    Args:
        pipe: a pipeline of the SD family, sampled with `DDIMScheduler` and the same `steps` and `guidance` later on.
        picture: PIL; it is resized to the model's resolution.
        prompt: what the picture shows.
        inner_steps: steps of Adam a sampling step.
        lr: its rate, times (1 - i / 100) at step i.
        tolerance: step i ends early below tolerance + 2e-5 i.

    Raises:
        PersonaError: for a host with several text encoders or another prediction than the noise's.
    """
    import torch
    from diffusers import DDIMScheduler

    from .. import backbones
    from ..functional import null_text

    host = backbones.of(pipe).private_clone()
    schedule: Any = DDIMScheduler.from_config(pipe.scheduler.config)
    if len(host.encoder_names) > 1 or schedule.config.prediction_type != "epsilon":
        raise PersonaError(
            f"null-text inversion needs one text encoder and a model that predicts the noise; {type(pipe).__name__} "
            f"has {len(host.encoder_names)} and {schedule.config.prediction_type}"
        )
    schedule.set_timesteps(steps)
    timesteps, name = schedule.timesteps.tolist(), next(iter(host.encoder_names))
    total = schedule.config.num_train_timesteps
    here, after = null_text.levels(timesteps, schedule.alphas_cumprod, schedule.final_alpha_cumprod, total)
    here, after = here.to(host.device), after.to(host.device)

    def noise(latents, timestep, states):
        conditions = {"encoder_hidden_states": states}
        return host.denoise(latents, torch.tensor([timestep], device=host.device), conditions)

    with torch.no_grad():
        condition, null = (host.encode_text(host.tokenize([p]))["encoder_hidden_states"] for p in (prompt, ""))
        latents, _ = host.encode_images(_pixels(picture, host.resolution))
        path = null_text.ddim_inversion(noise, latents, condition, timesteps, here, after)
    nulls = null_text.optimised_nulls(
        noise,
        path,
        condition,
        null,
        timesteps,
        here,
        after,
        guidance=guidance,
        inner_steps=inner_steps,
        lr=lr,
        tolerance=tolerance,
    )
    tensors = {f"{name}.states": torch.cat(nulls).cpu(), "timesteps": torch.tensor(timesteps)}
    return NullTextInversion(latents=path[-1].cpu(), tensors=tensors)


def _pixels(picture, side: int) -> Tensor:
    """A PIL picture as [1, 3, side, side] in [-1, 1]."""
    import numpy as np
    import torch

    array = np.asarray(picture.convert("RGB").resize((side, side)), dtype=np.float32)
    return torch.from_numpy(array / 127.5 - 1.0).permute(2, 0, 1)[None]
