"""The training loop: exact, resumable, and clear about what went wrong."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from diffusers_persona import Concept, PersonaError, inversion, learn, losses, recipes
from diffusers_persona.losses.denoising import Step
from diffusers_persona.testing import tiny_pictures, tiny_pipeline
from diffusers_persona.training import prior
from diffusers_persona.training.randomness import picks


@pytest.mark.evidence(level="parity", recipe=["textual-inversion", "dreambooth", "lora", "custom-diffusion"])
def test_losses_are_mean_squared_errors_of_their_rows():
    prediction, target = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1), torch.zeros(2, 1, 1, 1)
    step = Step(prediction=prediction, target=target, masks=None, concept_rows=1)
    assert losses.Denoising()(step) == 1.0
    assert losses.PriorPreservation(weight=0.5)(step) == 4.5


def test_a_mask_limits_the_loss_to_its_part():
    prediction = torch.tensor([[[[1.0, 5.0]]]])
    step = Step(
        prediction=prediction, target=torch.zeros(1, 1, 1, 2), masks=torch.tensor([[[[1.0, 0.0]]]]), concept_rows=1
    )
    assert losses.Denoising()(step) == 1.0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(pipe, learned, precision):
    first, second, third = (learned(pipe, "lora", seed=s, precision=precision).digest for s in (3, 3, 4))
    assert first == second != third


def test_accumulation_equals_a_larger_batch(pipe, pictures):
    """Four pictures in one pass or in two passes of two: the same gradient."""
    options = dict(noun="dog", steps=1, progress=False, lr=1e-2)
    whole = learn(pipe, pictures, "textual-inversion", batch_size=2, accumulation=2, **options)
    again = learn(pipe, pictures, "textual-inversion", batch_size=2, accumulation=2, **options)
    assert whole.digest == again.digest
    assert whole.header["training"]["steps"] == 1


def test_every_picture_is_seen_once_a_round():
    assert sorted(picks(5, 5, 0, seed=1)) == sorted(picks(5, 5, 5, seed=1)) == list(range(5))
    assert picks(5, 3, 4, seed=1) == (picks(5, 5, 0, seed=1) + picks(5, 5, 5, seed=1))[4:7]


def test_learning_lowers_the_loss(pipe, pictures):
    seen = []
    learn(
        pipe,
        pictures,
        "lora",
        noun="dog",
        steps=60,
        batch_size=4,
        rank=8,
        lr=2e-2,
        progress=False,
        callback=lambda done, loss: seen.append(loss),
    )
    assert np.mean(seen[-15:]) < 0.97 * np.mean(seen[:15])


def test_phases_and_rates_of_their_own_reach_the_spaces_that_they_name(pipe, pictures):
    entry = recipes.get("custom-diffusion")
    built = entry.build(steps=2, prior_weight=0.0, augment=False)
    import dataclasses

    phases = (inversion.Phase(steps=2, train=("word",)),)
    method = dataclasses.replace(built.method, phases=phases, lr={"word": 1e-2, "key_weights": 1e-3})
    concept = learn(pipe, pictures, dataclasses.replace(built, method=method), noun="dog", progress=False)
    words, weights = concept.tensors_of(0), concept.tensors_of(1)
    assert not torch.equal(words["text_encoder.embedding"], words["text_encoder.initial"])
    assert all(torch.equal(w, pipe.unet.get_parameter(k.partition(".")[2])) for k, w in weights.items())


def test_a_moving_average_becomes_the_concept(pipe, pictures):
    import dataclasses

    built = recipes.get("textual-inversion").build(steps=2, batch_size=1)
    averaged = dataclasses.replace(built, method=dataclasses.replace(built.method, ema=0.999999))
    concept = learn(pipe, pictures, averaged, noun="dog", progress=False)
    tensors = concept.tensors_of(0)
    assert torch.allclose(tensors["text_encoder.embedding"], tensors["text_encoder.initial"], atol=1e-5)


def test_gradient_checkpointing_gives_the_same_concept(pipe, learned):
    plain, saved = learned(pipe, "lora"), learned(pipe, "lora", gradient_checkpointing=True)
    for key, tensor in plain.tensors.items():
        assert torch.allclose(tensor, saved.tensors[key], atol=1e-5)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(pipe, pictures, monkeypatch, tmp_path):
    original = losses.Denoising.__call__
    calls = []

    def broken(self, step):
        calls.append(1)
        return original(self, step) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(losses.Denoising, "__call__", broken)
    with pytest.raises(PersonaError, match="nan at step 3"):
        learn(
            pipe,
            pictures,
            "textual-inversion",
            noun="dog",
            steps=5,
            output=tmp_path,
            checkpoint_every=1,
            progress=False,
        )
    monkeypatch.undo()
    resumed = learn(
        pipe,
        pictures,
        "textual-inversion",
        noun="dog",
        steps=5,
        output=tmp_path,
        checkpoint_every=1,
        resume=True,
        progress=False,
    )
    assert resumed.header["training"]["steps"] == 5


RUN = """
import sys, torch
torch.set_num_threads(1)
from diffusers_persona import learn
from diffusers_persona.testing import tiny_pictures, tiny_pipeline
print("ready", flush=True)
learn(tiny_pipeline("sd"), tiny_pictures(4), {recipe!r}, noun="dog", steps=40, batch_size=1, output={output!r},
      checkpoint_every=1, resume=True, progress=False, **{numbers!r})
"""


@pytest.mark.parametrize("recipe", ["textual-inversion", "lora", "custom-diffusion", "dreambooth"])
def test_a_killed_run_goes_on_to_the_bit_identical_concept(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONA_CACHE", str(tmp_path / "cache"))
    numbers = {} if recipe == "textual-inversion" else {"prior_count": 2}
    whole = learn(
        tiny_pipeline("sd"), tiny_pictures(4), recipe, noun="dog", steps=40, batch_size=1, progress=False, **numbers
    )
    output = tmp_path / "run"
    code = RUN.format(recipe=recipe, output=str(output), numbers=numbers)
    random, kills = np.random.default_rng(abs(hash(recipe)) % 1000), 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        wanted = random.uniform(0.05, 0.6)
        deadline = time.monotonic() + 60
        while (
            not (output / "checkpoint.safetensors").exists() and process.poll() is None and time.monotonic() < deadline
        ):
            time.sleep(0.005)
        time.sleep(wanted)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert kills >= 1, "the run was over before it could be killed"
    assert Concept.from_pretrained(output).digest == whole.digest
    print(f"{recipe}: {kills} kills, bit-identical")


def test_a_finished_run_is_returned_and_not_repeated(pipe, learned, tmp_path):
    first = learned(pipe, "lora", output=tmp_path / "run")
    again = learned(
        pipe, "lora", output=tmp_path / "run", resume=True, callback=lambda *a: pytest.fail("it learned again")
    )
    assert again.digest == first.digest


def test_a_folder_with_another_run_is_refused_and_names_what_differs(pipe, learned, tmp_path):
    learned(pipe, "lora", output=tmp_path / "run")
    with pytest.raises(PersonaError, match="holds a run already"):
        learned(pipe, "lora", output=tmp_path / "run")
    with pytest.raises(PersonaError, match="seed differ"):
        learned(pipe, "lora", output=tmp_path / "run", resume=True, seed=9)


def test_the_plan_is_written_before_the_first_step(pipe, learned, tmp_path):
    def look(done, loss):
        plan = json.loads((tmp_path / "run" / "run.json").read_text())
        assert plan["numbers"]["lr"] == 2e-2 and "LowRank" in plan["declaration"]

    learned(pipe, "lora", output=tmp_path / "run", callback=look)


def _hold(folder, started, finish):
    from diffusers_persona.files import only_writer

    with only_writer(folder):
        started.set()
        finish.wait(30)


def test_two_processes_cannot_learn_into_one_folder(pipe, learned, tmp_path):
    context = multiprocessing.get_context("spawn")
    started, finish = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "run", started, finish))
    holder.start()
    assert started.wait(60)
    try:
        with pytest.raises(PersonaError, match="another process is learning"):
            learned(pipe, "lora", output=tmp_path / "run")
    finally:
        finish.set()
        holder.join()


def test_previews_are_made_through_the_public_path(pipe, learned, tmp_path):
    concept = learned(pipe, "lora", output=tmp_path / "run", preview_every=2)
    assert (tmp_path / "run" / "previews" / "step-000002.png").exists()
    assert len(concept.previews) == 1
    assert Concept.from_pretrained(tmp_path / "run").previews


def test_class_pictures_are_made_once_and_kept(pipe, learned, monkeypatch):
    learned(pipe, "dreambooth")
    made = sorted(prior.cache_folder().rglob("*.png"))
    assert len(made) == 2
    monkeypatch.setattr(type(pipe), "__call__", lambda *a, **k: pytest.fail("class pictures were made again"))
    learned(pipe, "dreambooth")


def test_a_folder_of_real_class_pictures_takes_their_place(pipe, learned, tmp_path):
    (tmp_path / "real").mkdir()
    for n, picture in enumerate(tiny_pictures(2, seed=5)):
        picture.save(tmp_path / "real" / f"{n}.png")
        (tmp_path / "real" / f"{n}.txt").write_text("a photo of one dog in red")
    learned(pipe, "custom-diffusion", prior_images=tmp_path / "real")
    assert not list(prior.cache_folder().rglob("*.png"))


def test_class_pictures_that_no_loss_uses_are_an_error(pipe, learned, tmp_path):
    with pytest.raises(PersonaError, match="no loss of this recipe uses it"):
        learned(pipe, "textual-inversion", prior_images=tmp_path)


def test_masks_reach_the_loss(pipe, pictures):
    half = Image.fromarray(np.concatenate([np.full((32, 16), 255, np.uint8), np.zeros((32, 16), np.uint8)], 1))
    options = dict(noun="dog", steps=2, progress=False)
    plain = learn(pipe, pictures, "textual-inversion", **options)
    masked = learn(pipe, pictures, "textual-inversion", masks=[half] * 4, **options)
    assert plain.digest != masked.digest


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("lora", {"token": "<new>"}, "the tokenizer splits it into .*such as 'sks'"),
        ("textual-inversion", {"token": "dog"}, "a word that the model knows already"),
        ("textual-inversion", {"token": "two words"}, "one word without spaces"),
        ("lora", {"precision": "fp8"}, "choose one of fp32, bf16, fp16"),
        ("lora", {"steps": 0}, "at least 1"),
        ("lora", {"lr": -1.0}, "above 0"),
        ("lora", {"targets": ("nothing",)}, "no layer of unet ends with one of nothing"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(pipe, learned, recipe, options, message):
    with pytest.raises(PersonaError, match=message) as caught:
        learned(pipe, recipe, **options)
    assert "\n" not in str(caught.value)


def test_a_recipe_refuses_a_family_that_it_does_not_serve_by_name(pipe, pictures, monkeypatch):
    import dataclasses

    import diffusers_persona.recipe as registry

    entry = recipes.get("lora")
    monkeypatch.setitem(registry._REGISTRY, "lora", dataclasses.replace(entry, backbones=("flux",)))
    with pytest.raises(PersonaError, match="does not serve sd models .* it serves: flux"):
        learn(pipe, pictures, "lora", progress=False)


def test_an_unknown_pipeline_is_refused(pictures):
    with pytest.raises(PersonaError, match="not a supported host; supported families: sdxl, sd"):
        learn(object(), pictures, "lora")


def test_a_read_only_or_full_folder_says_so(pipe, learned, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PersonaError, match="cannot be written \\(No space left on device\\)"):
        learned(pipe, "lora", output=tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.part"))


def test_pictures_are_encoded_once_a_version(pipe, pictures, monkeypatch):
    import dataclasses

    from diffusers_persona.backbones import Backbone
    from diffusers_persona.inversion.augmentation import HorizontalFlip, RandomCrop

    calls = []
    original = Backbone.encode_images
    monkeypatch.setattr(
        Backbone, "encode_images", lambda self, pixels: calls.append(len(pixels)) or original(self, pixels)
    )
    built = recipes.get("textual-inversion").build(steps=3, batch_size=2)

    def encoded(*augmentation):
        calls.clear()
        data = dataclasses.replace(built.data, augmentation=augmentation)
        learn(pipe, pictures, dataclasses.replace(built, data=data), noun="dog", progress=False)
        return sum(calls)

    assert encoded() == 4
    assert encoded(HorizontalFlip()) == 8
    assert 4 <= encoded(RandomCrop()) <= 6
    monkeypatch.setattr("diffusers_persona.training.examples.VERSIONS", 1)
    assert encoded(RandomCrop()) == 4


def test_the_header_names_the_base_model_and_not_where_it_lies(pipe, learned, tmp_path):
    from diffusers import StableDiffusionPipeline

    pipe.save_pretrained(tmp_path / "my-base")
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path / "my-base", safety_checker=None)
    loaded.set_progress_bar_config(disable=True)
    concept = learned(loaded, "lora", output=tmp_path / "run")
    assert concept.header["base_model"]["name"] == "my-base"
    assert str(tmp_path) not in (tmp_path / "run" / "concept.json").read_text()


@pytest.mark.parametrize("recipe", ["textual-inversion", "lora", "dreambooth", "custom-diffusion"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_half_precision_pipeline_can_learn_and_stays_what_it_is(pipe, learned, draw, recipe, precision):
    pipe.to(torch.bfloat16)
    base = draw(pipe)
    concept = learned(pipe, recipe, precision=precision)
    assert {p.dtype for p in pipe.unet.parameters()} == {torch.bfloat16} and np.array_equal(draw(pipe), base)
    assert {t.dtype for t in concept.tensors.values()} == {torch.float32}
    with concept.attach(pipe):
        assert not np.array_equal(draw(pipe, f"a photo of {concept.phrase}"), draw(pipe, "a photo of cat"))
    assert np.array_equal(draw(pipe), base)
