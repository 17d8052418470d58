"""Two processes learn one concept together: what one finds with twice the accumulation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffusers_persona import Concept, learn
from diffusers_persona.testing import tiny_pictures, tiny_pipeline
from diffusers_persona.training.processes import Processes

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two processes have learned side by side."""
    folder = tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    launch += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    environment = os.environ | {"PERSONA_CACHE": str(folder / "cache"), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launch, str(SCRIPT), str(folder)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def seen(folder):
    return [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize(
    ("place", "recipe", "numbers"),
    [
        ("run", "dreambooth", dict(steps=4, lr=1e-3, prior_count=3)),
        ("words", "custom-diffusion", dict(steps=2, prior_weight=0.0)),
    ],
)
def test_two_processes_find_what_one_finds_with_twice_the_accumulation(folder, place, recipe, numbers, monkeypatch):
    monkeypatch.setenv("PERSONA_CACHE", str(folder / "cache"))
    options = dict(noun="dog", batch_size=1, accumulation=2, progress=False)
    one = learn(tiny_pipeline("sd"), tiny_pictures(4), recipe, **options, **numbers)
    two = Concept.from_pretrained(folder / place)
    apart = max(float((tensor - two.tensors[key]).abs().max()) for key, tensor in one.tensors.items())
    print(f"{recipe}: at most {apart:.1e} apart")
    assert apart < 1e-4
    curves = [concept.header["training"]["loss_curve"] for concept in (one, two)]
    assert torch.allclose(*map(torch.tensor, curves), atol=1e-5)
    assert two.header["training"]["processes"] == 2


def test_every_process_returns_the_concept_and_one_writes_it(folder, seen):
    for entry in seen:
        assert entry["digest"] == entry["finished"] == Concept.from_pretrained(folder / "run").digest
        assert entry["words"] == Concept.from_pretrained(folder / "words").digest
        assert entry["previews"] == 1 and "checkpoint.safetensors" in entry["left"]
    assert not (folder / "run" / "checkpoint.safetensors").exists()


def test_the_main_process_alone_makes_the_class_pictures(seen):
    assert [entry["class pictures"] for entry in seen] == [True, False]


def test_a_loss_that_is_no_number_in_one_process_stops_both(seen):
    assert all("the loss is nan at step 1" in entry["no number"] for entry in seen)


def test_what_the_main_process_refuses_all_refuse(seen):
    assert all("holds a run already" in entry["occupied"] for entry in seen)


def test_one_process_does_its_work_itself():
    processes = Processes(torch.device("cpu"))
    assert processes.main and processes.main_does(lambda: 3) == 3
    losses = torch.ones(2)
    assert processes.mean(losses, []) is losses
