import numpy as np
import pytest
import torch

from diffusers_persona.testing import tiny_pictures, tiny_pipeline


@pytest.fixture
def pipe():
    return tiny_pipeline("sd")


@pytest.fixture
def pictures():
    return tiny_pictures(4)


@pytest.fixture
def draw():
    """draw(pipe, prompt, **options) -> float array [B, 32, 32, 3]; the same noise each time."""

    def draw(pipe, prompt="a photo of cat", steps=2, **options):
        generator = torch.Generator().manual_seed(0)
        options = dict(num_inference_steps=steps, height=32, width=32, output_type="np", generator=generator) | options
        return np.asarray(pipe(prompt, **options).images)

    return draw


@pytest.fixture
def learned(pictures, tmp_path, monkeypatch):
    """learned(pipe, recipe, **options) -> Concept after a few large steps."""
    from diffusers_persona import learn
    from diffusers_persona.recipe import get

    monkeypatch.setenv("PERSONA_CACHE", str(tmp_path / "cache"))

    def learned(pipe, recipe, **options):
        numbers = {"steps": 3, "batch_size": 2, "prior_count": 2, "lr": 2e-2} | options
        known = {**get(recipe).defaults}
        numbers = {k: v for k, v in numbers.items() if k in known or k in options}
        return learn(pipe, pictures, recipe, **{"noun": "dog", "progress": False, **numbers})

    return learned
