"""The embedded pipeline: stock classes, small, quick to load, and able to draw."""

import json
import time
from pathlib import Path

import pytest
import torch

from diffusers_persona import toybox
from diffusers_persona.toybox.card import BARS
from diffusers_persona.toybox.pipeline import MODELS

CARD = Path(__file__).parents[2] / "benchmarks" / "toybox" / "model_card.json"


@pytest.fixture(scope="module")
def pipe():
    return toybox.load()


def test_it_is_a_stock_pipeline_in_fp32(pipe):
    names = {name: type(part).__name__ for name, part in pipe.components.items() if part is not None}
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    assert names == {
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModel",
        "tokenizer": names["tokenizer"],
        "unet": "UNet2DConditionModel",
        "scheduler": "DPMSolverMultistepScheduler",
    }
    assert names["tokenizer"].startswith("CLIPTokenizer")
    assert {parameter.dtype for parameter in pipe.unet.parameters()} == {torch.float32}
    assert pipe.scheduler.config.prediction_type == "v_prediction"


def test_it_loads_in_under_three_seconds(pipe):
    started = time.process_time()
    toybox.load()
    assert time.process_time() - started < 3


def test_all_models_of_the_toybox_take_at_most_60_megabytes():
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 60e6
    assert not [path for path in files if path.suffix not in (".safetensors", ".json", ".txt")]


def test_it_draws_the_same_two_pictures_for_the_same_seed(pipe):
    prompts = ["a cat on a red background", "Anna Smith in the snow"]
    runs = [
        pipe(prompts, num_inference_steps=4, guidance_scale=4.0, generator=torch.Generator().manual_seed(0)).images
        for _ in range(2)
    ]
    assert [image.size for image in runs[0]] == [(64, 64), (64, 64)]
    assert [image.tobytes() for image in runs[0]] == [image.tobytes() for image in runs[1]]


def test_a_colour_background_is_obeyed(pipe):
    image = pipe(
        "a cat on a blue background",
        num_inference_steps=15,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(1),
    ).images[0]
    red, _, blue = image.crop((0, 0, 64, 4)).resize((1, 1)).getpixel((0, 0))
    assert blue > red + 80


def test_the_card_measures_every_bar():
    if not CARD.is_file():
        pytest.skip(f"{CARD.name} is not part of this installation")
    card = json.loads(CARD.read_text())
    assert card["obedience"]["samples"] >= 500 and card["obedience"]["steps"] == 25
    for name, bar in BARS.items():
        entry = card["bars"][name]
        assert entry["bar"] == bar and entry["met"] == (entry["measured"] >= bar)


def test_no_shipped_file_tells_where_it_was_built():
    for path in MODELS.parent.rglob("*.json"):
        assert "_name_or_path" not in path.read_text(), path
