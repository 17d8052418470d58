"""Methods without a layout of their own: stock diffusers reads what their concepts leave, and draws the same."""

import json

import numpy as np
import pytest
from factors import draw, pipe_of

from diffusers_persona import Concept, learn
from diffusers_persona.testing import short_lesson, tiny_pictures, tiny_pipeline

READ_BY_STOCK = ("brat", "cusconcept", "palp", "block-wise-lora", "style-friendly-snr")
"""Words, LoRAs, and both: files for `load_textual_inversion` and `load_lora_weights`."""
WHOLE_PIPELINES = ("core", "u-vap", "facechain-sude")
"""All weights: a pipeline folder for `from_pretrained`."""


def concept_of(recipe, monkeypatch, tmp_path):
    monkeypatch.setenv("PERSONA_CACHE", str(tmp_path / "cache"))
    return learn(pipe_of("sd"), **short_lesson(recipe, pictures=tiny_pictures(2)))


def own_picture(concept):
    with concept.attach(pipe_of("sd")):
        return draw(pipe_of("sd"), f"a photo of {concept.phrase}")


@pytest.mark.parametrize(
    "recipe", [pytest.param(r, marks=pytest.mark.evidence(level="formats")) for r in READ_BY_STOCK]
)
def test_stock_reads_the_words_and_loras_of_the_folder(recipe, monkeypatch, tmp_path):
    concept = concept_of(recipe, monkeypatch, tmp_path)
    folder, stock = concept.save_pretrained(tmp_path / "concept"), tiny_pipeline("sd")
    words = sorted(folder.glob("*learned_embeds.safetensors"))
    for word in words:
        stock.load_textual_inversion(str(folder), weight_name=word.name)
    if (folder / "pytorch_lora_weights.safetensors").exists():
        stock.load_lora_weights(str(folder), weight_name="pytorch_lora_weights.safetensors")
    picture = draw(stock, f"a photo of {concept.phrase}")
    assert np.abs(picture - own_picture(concept)).max() < 1e-4
    assert np.abs(picture - draw(tiny_pipeline("sd"), f"a photo of {concept.phrase}")).max() > 1e-4


@pytest.mark.parametrize(
    "recipe", [pytest.param(r, marks=pytest.mark.evidence(level="formats")) for r in WHOLE_PIPELINES]
)
def test_a_whole_pipeline_is_written_and_read_back(recipe, monkeypatch, tmp_path):
    concept = concept_of(recipe, monkeypatch, tmp_path)
    concept.export("pipeline", tmp_path / "whole", pipe=pipe_of("sd"))
    assert (
        json.loads((tmp_path / "whole" / "model_index.json").read_text())["_class_name"] == "StableDiffusionPipeline"
    )
    loaded = Concept.from_file(tmp_path / "whole", base=pipe_of("sd"))
    with loaded.attach(pipe_of("sd")):
        picture = draw(pipe_of("sd"), f"a photo of {concept.phrase}")
    assert np.abs(picture - own_picture(concept)).max() < 1e-4
