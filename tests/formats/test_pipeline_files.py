"""A concept as a whole stock pipeline, which needs no library of ours."""

import numpy as np
import pytest
from factors import draw, pipe_of

from diffusers_persona import Concept, PersonaError, learn
from diffusers_persona.testing import tiny_pictures

WORDS = ("custom-diffusion", "textual-inversion")


@pytest.mark.parametrize("recipe", ["dreambooth", "custom-diffusion", "lora", "textual-inversion"])
def test_the_folder_draws_what_the_attached_concept_draws(recipe, tmp_path):
    from diffusers import DiffusionPipeline

    pipe = pipe_of("sd")
    before = {name: value.clone() for name, value in pipe.unet.state_dict().items()}
    numbers = dict(steps=2, lr=1e-2, batch_size=1, token="<toy>" if recipe in WORDS else None)
    numbers |= {} if recipe == "textual-inversion" else {"prior_weight": 0.0}
    concept = learn(pipe, tiny_pictures(2), recipe, noun="dog", progress=False, **numbers)
    prompt = f"a photo of {concept.phrase}"
    with concept.attach(pipe):
        ours = draw(pipe, prompt)
    concept.export("pipeline", tmp_path / "folded", pipe=pipe)
    stock = DiffusionPipeline.from_pretrained(tmp_path / "folded", safety_checker=None)
    stock.set_progress_bar_config(disable=True)
    assert np.abs(draw(stock, prompt) - ours).max() < 1e-4
    assert all((value == before[name]).all() for name, value in pipe.unet.state_dict().items())
    assert "<toy>" not in pipe.tokenizer.get_vocab()


def test_the_base_pipeline_is_needed(tmp_path):
    concept = learn(pipe_of("sd"), tiny_pictures(1), "lora", noun="dog", progress=False, steps=1)
    with pytest.raises(PersonaError, match="pipe="):
        concept.export("pipeline", tmp_path / "folded")


@pytest.mark.parametrize("part", ["", "unet"])
@pytest.mark.evidence(level="formats", recipe="dreambooth")
def test_a_fine_tuned_pipeline_is_what_differs_from_its_base(part, tmp_path):
    """As DreamBooth scripts leave it: a whole pipeline, or its UNet."""
    pipe = pipe_of("sd")
    numbers = dict(steps=2, lr=1e-2, batch_size=1, prior_weight=0.0, train_text_encoder=not part)
    concept = learn(pipe, tiny_pictures(2), "dreambooth", noun="dog", progress=False, **numbers)
    with concept.attach(pipe):
        ours = draw(pipe, f"a photo of {concept.phrase}")
    concept.export("pipeline", tmp_path, pipe=pipe)
    loaded = Concept.from_file(tmp_path / part, base=pipe)
    assert not loaded.report.unused and not loaded.report.missing
    with loaded.attach(pipe):
        assert np.abs(draw(pipe, f"a photo of {concept.phrase}") - ours).max() < 1e-4
    with pytest.raises(PersonaError, match="base|whole pipeline"):
        Concept.from_file(tmp_path / part)
    with pytest.raises(PersonaError, match="base="):
        Concept.from_file(tmp_path / part, base=pipe_of("sdxl"))
