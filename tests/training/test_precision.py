"""What the frozen weights are kept in, and what is given up for memory."""

import json

import pytest
import torch

from diffusers_persona import PersonaError, learn
from diffusers_persona.backbones import Backbone
from diffusers_persona.training.precision import resolve

OPTIONS = dict(noun="dog", batch_size=2, progress=False)


@pytest.fixture
def full_size(monkeypatch):
    """Tiny models pass for full-size ones on a device that computes in bf16."""
    monkeypatch.setattr(Backbone, "miniature", False)
    monkeypatch.setattr("diffusers_persona.training.precision._computes_bf16", lambda device: device == "cpu")


def test_miniature_models_learn_in_fp32_and_full_size_ones_in_bf16(full_size):
    assert resolve("auto", miniature=True, device="cpu") == "fp32"
    assert resolve("auto", miniature=False, device="cpu") == "bf16"
    assert resolve("auto", miniature=False, device="mps") == "fp32"
    assert resolve("fp16", miniature=False, device="cpu") == "fp16"


def test_header_and_plan_hold_the_precision_that_was_taken(pipe, pictures, tmp_path, full_size):
    concept = learn(pipe, pictures, "lora", steps=1, output=tmp_path / "run", **OPTIONS)
    assert concept.header["training"]["precision"] == "bf16"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["precision"] == "bf16"
    assert {tensor.dtype for tensor in concept.tensors.values()} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("recipe", "needed"),
    [
        ("lora", {"unet"}),
        ("textual-inversion", {"unet", "text_encoder"}),
        ("custom-diffusion", {"unet", "text_encoder"}),
    ],
)
def test_a_pipeline_that_is_given_up_frees_what_learning_needs_no_more(
    pipe, pictures, recipe, needed, precision, monkeypatch
):
    clones, make = [], Backbone.private_clone
    monkeypatch.setattr(
        Backbone, "private_clone", lambda self, dtype=None: clones.append(make(self, dtype)) or clones[-1]
    )
    options = OPTIONS | {"steps": 3, "precision": precision}
    if recipe == "custom-diffusion":
        options["prior_count"] = 2
    kept = learn(pipe, pictures, recipe, **options)
    assert left(pipe) == {"vae", "unet", "text_encoder"}
    given_up = learn(pipe, pictures, recipe, keep_pipe=False, **options)
    assert left(pipe) == set() and left(clones[-1].pipe) == needed
    assert given_up.digest == kept.digest


def left(pipe):
    """Names of the models that `pipe` still has."""
    return {name for name in ("vae", "text_encoder", "unet") if getattr(pipe, name) is not None}


def test_previews_need_the_whole_pipeline(pipe, pictures):
    with pytest.raises(PersonaError, match="preview_every needs the whole pipeline"):
        learn(pipe, pictures, "lora", steps=1, keep_pipe=False, preview_every=1, **OPTIONS)
