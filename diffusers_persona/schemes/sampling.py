"""Sampling with a prediction of one's own: DDIM over a backbone, for schemes that need more than two a step."""

from __future__ import annotations

from collections.abc import Callable


def ddim(host, predict: Callable, count: int, *, steps: int, generator=None, resolution: int | None = None) -> list:
    """`count` pictures (PIL) by deterministic DDIM (arXiv 2010.02502).

    Args:
        host: a `Backbone`.
        predict: (latents [B, c, h, w], timestep, cumulative product there, and at the next timestep) -> the latents to
            go on from, and the noise in them; both [B, c, h, w].
        steps: of sampling.
        generator: of the first noise, on the CPU.
        resolution: side of the pictures in pixels; by default the host's.
    """
    import torch
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(host.pipe.scheduler.config)
    scheduler.set_timesteps(steps)
    side = (resolution or host.resolution) // host.pipe.vae_scale_factor
    latents = torch.randn(count, host.denoiser.config.in_channels, side, side, generator=generator).to(host.device)
    alphas, final = scheduler.alphas_cumprod, scheduler.final_alpha_cumprod
    stride = scheduler.config.num_train_timesteps // steps
    with torch.no_grad():
        for t in scheduler.timesteps.tolist():
            alpha, before = alphas[t], alphas[t - stride] if t >= stride else final
            latents, noise = predict(latents, t, alpha, before)
            clean = (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()
            latents = before.sqrt() * clean + (1 - before).sqrt() * noise
        pixels = host.decode_latents(latents).float().cpu()
    return host.pipe.image_processor.postprocess(pixels, output_type="pil")


def noise_of(host, latents, timestep: int, conditions: dict):
    """The host's estimate of the noise in `latents`, [B, c, h, w]."""
    import torch

    from ..functional.diffusion import noise_estimate

    times = torch.full((len(latents),), timestep, device=latents.device)
    prediction = host.denoise(latents, times, conditions)
    schedule = host.noise_schedule()
    alphas = schedule.alphas_cumprod.to(latents)[times]
    return noise_estimate(prediction.to(latents), latents, alphas, schedule.config.prediction_type)


def texts(host, prompts: list[str]) -> dict:
    """The host's conditions of prompts."""
    import torch

    with torch.no_grad():
        return host.encode_text({name: ids.to(host.device) for name, ids in host.tokenize(prompts).items()})
