"""Null-text inversion: guided sampling gives a real picture back."""

import dataclasses

import numpy as np
import pytest
import torch

from diffusers_persona import Concept, PersonaError, backbones, spaces
from diffusers_persona.inversion.null_text import invert
from diffusers_persona.testing import tiny_pictures, tiny_pipeline


def attached(pipe, found):
    space = spaces.NullText()
    header = {
        "schema_version": 1,
        "recipe": "custom",
        "token": "",
        "noun": "thing",
        "spaces": [{"kind": space.kind, **dataclasses.asdict(space)}],
        "base_model": backbones.of(pipe).describe(),
    }
    return Concept(header=header, tensors={f"0.null_text.{k}": v for k, v in found.tensors.items()}).attach(pipe)


@pytest.mark.evidence(level="parity", recipe="null-text-inversion")
def test_each_step_of_guided_sampling_takes_its_own_null_text(draw):
    """Algorithm 1: the unconditional prediction of step t comes from its state, and only that."""
    pipe = tiny_pipeline("sd")
    found = invert(pipe, tiny_pictures(1)[0], "a photo of cat", steps=3, inner_steps=3, lr=0.1)
    host, schedule, latents = backbones.of(pipe), pipe.scheduler, found.latents
    options = dict(steps=3, guidance_scale=7.5, latents=found.latents, output_type="latent")
    base, other = draw(pipe, **options), draw(pipe, negative_prompt="red dog", **options)
    schedule.set_timesteps(3)
    assert found.tensors["timesteps"].tolist() == schedule.timesteps.tolist()
    with torch.no_grad():
        text = host.encode_text(host.tokenize(["a photo of cat"]))["encoder_hidden_states"]
        for t, null in zip(schedule.timesteps, found.tensors["text_encoder.states"]):
            free, led = (pipe.unet(latents, t, encoder_hidden_states=c).sample for c in (null[None], text))
            latents = schedule.step(free + 7.5 * (led - free), t, latents).prev_sample
    with attached(pipe, found):
        assert np.abs(draw(pipe, **options) - latents.numpy()).max() < 1e-4
        assert np.array_equal(draw(pipe, negative_prompt="red dog", **options), other)
    assert np.array_equal(draw(pipe, **options), base) and not np.allclose(latents.numpy(), base, atol=1e-3)


def test_hosts_that_it_does_not_serve_are_refused():
    with pytest.raises(PersonaError, match="needs one text encoder"):
        invert(tiny_pipeline("sdxl"), tiny_pictures(1)[0], "a cat")
