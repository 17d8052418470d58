"""Spatial inversion: the latents are steered until each word attends to its box."""

import pytest
import torch

from diffusers_persona import PersonaError
from diffusers_persona.backbones import of
from diffusers_persona.schemes import SpatialInversion
from diffusers_persona.schemes.spatial import _Guide

PROMPT, BOXES = "a photo of cat and dog", {"cat": (0.0, 0.0, 0.5, 1.0), "dog": (0.5, 0.0, 1.0, 1.0)}


@pytest.fixture
def guide(pipe):
    pipe.scheduler.set_timesteps(10)
    return lambda **numbers: _Guide(SpatialInversion(**numbers), pipe, PROMPT, BOXES)


@pytest.fixture
def latents():
    return torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.evidence(level="parity", recipe="compositional-inversion")
def test_an_update_is_one_gradient_step(guide, latents):
    """z <- z - (1 - alpha) scale dL/dz, which is the official z' - scale sigma^2 dL/dz' on unscaled latents z'."""
    own = guide(iterations=1, threshold=0.0, scale=30.0)
    timestep = own.pipe.scheduler.timesteps[2]
    alpha = own.alphas[int(timestep)]
    _, gradient = own._outside(latents, timestep)
    steered = own.steered(latents, 2)
    assert torch.allclose(steered, latents - (1 - alpha) * 30.0 * gradient, atol=1e-6)
    unscaled, sigma2 = latents / alpha.sqrt(), (1 - alpha) / alpha
    official = unscaled - 30.0 * sigma2 * alpha.sqrt() * gradient
    assert torch.allclose(official * alpha.sqrt(), steered, atol=1e-5)


def test_updates_bring_the_attention_into_the_boxes(guide, latents):
    own = guide(iterations=5, threshold=0.0)
    timestep = own.pipe.scheduler.timesteps[0]
    before, _ = own._outside(latents, timestep)
    after, _ = own._outside(own.steered(latents, 0), timestep)
    assert after < before
    assert torch.equal(guide(threshold=1.0).steered(latents, 0), latents)
    assert torch.equal(guide(steps=3).steered(latents, 3), latents)


def test_the_loss_is_the_mean_over_layers_heads_things_and_positions(guide, latents):
    from diffusers_persona.attention.reading import Reading

    own = guide()
    timestep, host = own.pipe.scheduler.timesteps[0], own.host
    with Reading(host.denoiser, own.layers) as reading, torch.no_grad():
        host.denoise(latents, timestep.reshape(1), own.text)
    losses = []
    for maps in reading.maps.values():
        side = int(maps.shape[2] ** 0.5)
        for place, part in ((4, slice(0, side // 2)), (6, slice(side // 2, side))):
            own_map = maps[0, :, :, place].unflatten(1, (side, side))
            losses.append((1 - own_map[:, :, part].sum((1, 2)) / own_map.sum((1, 2))) ** 2)
    assert abs(own._outside(latents, timestep)[0] - float(torch.stack(losses).mean())) < 1e-6


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_drawing_leaves_no_trace(pipe, scheduler, draw):
    import diffusers

    pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config)
    plain = draw(pipe)
    options = dict(num_inference_steps=3, height=32, width=32, output_type="np")
    drawn = [
        SpatialInversion(steps=steps, threshold=0.0, scale=300.0).draw(
            pipe, PROMPT, BOXES, generator=torch.Generator().manual_seed(0), **options
        )
        for steps in (0, 3)
    ]
    stock = pipe(PROMPT, generator=torch.Generator().manual_seed(0), **options).images
    assert abs(drawn[0].images - stock).max() < 1e-5 and abs(drawn[1].images - stock).max() > 1e-3
    assert (draw(pipe) == plain).all()
    assert not any(m._forward_hooks for m in of(pipe).denoiser.modules())


def test_what_cannot_be_placed_is_named(pipe):
    scheme = SpatialInversion()
    with pytest.raises(PersonaError, match="'bird'"):
        scheme.draw(pipe, PROMPT, {"bird": (0, 0, 1, 1)})
    with pytest.raises(PersonaError, match="0 <= left < right"):
        scheme.draw(pipe, PROMPT, {"cat": (0.5, 0, 0.2, 1)})
