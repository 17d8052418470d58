"""The null-text loop on an analytic noise model."""

import torch

from diffusers_persona.functional import null_text

RECIPE = "null-text-inversion"


def noise(x, t, condition):
    shift = condition.mean(1)[:, :, None, None]
    return 0.7 * torch.tanh(x + shift) + 0.3 * (float(t) / 1000) * torch.roll(x, 1, dims=-1)


def run(case, config, t):
    timesteps, alphas = t["timesteps"].tolist(), t["alphas_cumprod"]
    here, after = null_text.levels(timesteps, alphas, alphas[0])
    path = null_text.ddim_inversion(noise, t["x0"], t["cond"], timesteps, here, after)
    nulls = null_text.optimised_nulls(
        noise,
        path,
        t["cond"],
        t["uncond"],
        timesteps,
        here,
        after,
        guidance=config["guidance_scale"],
        inner_steps=config["num_inner_steps"],
        tolerance=config["epsilon"],
    )
    return {"ddim_latents": torch.cat(path), "uncond_embeddings": torch.cat(nulls)}
