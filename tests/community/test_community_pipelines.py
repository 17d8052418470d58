"""The single-file pipelines: a stock pipeline that also loads and unloads concepts."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from diffusers import DiffusionPipeline

import diffusers_persona as dp
from diffusers_persona.testing import tiny_pictures, tiny_pipeline

ROOT = Path(__file__).parents[2] / "community_pipelines"
FILES = {"sd": ROOT / "stable_diffusion_persona.py", "sdxl": ROOT / "stable_diffusion_xl_persona.py"}
FOLDERS = {"sd": ROOT / "stable_diffusion", "sdxl": ROOT / "stable_diffusion_xl"}


@pytest.fixture(autouse=True)
def own_module_cache(tmp_path, monkeypatch):
    """diffusers copies pipeline files into one cache: parallel tests must not share it."""
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.fixture(scope="module", params=["sd", "sdxl"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def base(family, tmp_path_factory):
    folder = tmp_path_factory.mktemp(family)
    tiny_pipeline(family).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def concepts(family, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"{family}-concepts")
    pipe = tiny_pipeline(family)
    for recipe in ("textual-inversion", "lora"):
        place = folder / recipe
        dp.learn(pipe, tiny_pictures(2), recipe, noun="dog", progress=False, output=place, steps=2, lr=0.5)
    return folder


def load(base, pipeline):
    pipe = DiffusionPipeline.from_pretrained(base, custom_pipeline=str(pipeline), trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def picture(pipe, prompt):
    import torch

    generator = torch.Generator().manual_seed(0)
    return np.array(
        pipe(prompt, num_inference_steps=2, generator=generator, height=32, width=32).images[0], dtype=np.int16
    )


@pytest.mark.parametrize("places", [FILES, FOLDERS], ids=["file", "folder"])
def test_a_concept_changes_the_picture_and_unloading_it_restores_every_byte(base, concepts, family, places):
    pipe = load(base, places[family])
    before = picture(pipe, "a photo of a dog")
    phrase = pipe.load_concept(concepts / "lora")
    assert np.abs(picture(pipe, f"a photo of a {phrase}") - before).max() > 0
    pipe.unload_concept()
    assert np.array_equal(picture(pipe, "a photo of a dog"), before)


def test_the_result_equals_attaching_the_concept_to_the_stock_pipeline(base, concepts, family):
    pipe = load(base, FILES[family])
    phrase = pipe.load_concept(concepts / "textual-inversion", scale=0.7)
    stock = tiny_pipeline(family)
    with dp.Concept.from_pretrained(concepts / "textual-inversion").attach(stock, scale=0.7):
        assert np.array_equal(picture(pipe, f"a {phrase}"), picture(stock, f"a {phrase}"))


def test_several_concepts_are_loaded_and_unloaded_by_name(base, concepts, family):
    pipe = load(base, FILES[family])
    before = picture(pipe, "a dog")
    pipe.load_concept(concepts / "lora", name="one")
    pipe.load_concept(concepts / "textual-inversion", name="two")
    with pytest.raises(ValueError, match="'one' is loaded already"):
        pipe.load_concept(concepts / "lora", name="one")
    with pytest.raises(KeyError, match="three"):
        pipe.unload_concept("three")
    pipe.unload_concept("one")
    pipe.unload_concept("two")
    pipe.unload_concept()
    assert np.array_equal(picture(pipe, "a dog"), before)


def test_both_folders_load_in_one_process(base, family):
    for folder in (*FOLDERS.values(), FOLDERS[family]):
        loaded = DiffusionPipeline.from_pretrained(base, custom_pipeline=str(folder), trust_remote_code=True)
    assert hasattr(loaded, "load_concept")
    assert isinstance(loaded, type(tiny_pipeline(family)))


def test_saving_writes_the_stock_weights_and_the_folder_loads_again(base, concepts, family, tmp_path):
    pipe = load(base, FILES[family])
    pipe.load_concept(concepts / "lora")
    pipe.save_pretrained(tmp_path / "saved")
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "saved" / weights).read_bytes() == (base / weights).read_bytes()
    assert hasattr(load(tmp_path / "saved", FILES[family]), "load_concept")


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_a_pipeline_file_is_short(path):
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_without_the_package_the_error_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers_persona", None)
    with pytest.raises(ImportError, match="pip install diffusers-persona"):
        runpy.run_path(str(path))
