"""`community_pipelines/` as repositories: a stock pipeline that fetches its class, and its concepts, from the Hub."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, ModelCard
from loopback_hub import ANNA

ROOT = Path(__file__).parents[2] / "community_pipelines"
PLACES = {
    "anna/stable-diffusion-persona": "stable_diffusion",
    "anna/stable-diffusion-xl-persona": "stable_diffusion_xl",
}
SCRIPT = """
import json, sys
import numpy, torch
from diffusers import DiffusionPipeline

def draw(pipe, prompt):
    pipe.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(0)
    picture = pipe(prompt, num_inference_steps=2, generator=noise, height=32, width=32).images[0]
    return numpy.asarray(picture).astype(int)

found = {}
for base, repo in json.loads(sys.argv[1]):
    pipe = DiffusionPipeline.from_pretrained(base, custom_pipeline=repo, trust_remote_code=True)
    found[repo] = [kind.__name__ for kind in type(pipe).__mro__[:2]]
    if repo == "anna/stable-diffusion-persona":
        before = draw(pipe, "a toy")
        phrase = pipe.load_concept("anna/toy")
        changed = abs(draw(pipe, f"a {phrase}") - before).max()
        pipe.unload_concept()
        found["concept"] = [phrase, int(changed), int(abs(draw(pipe, "a toy") - before).max())]
print(json.dumps(found))
"""


@pytest.fixture
def pushed(hub):
    """Each folder as a repository on the Hub."""
    api = HfApi(endpoint=hub.url, token=ANNA)
    for repo, folder in PLACES.items():
        api.create_repo(repo)
        api.upload_folder(repo_id=repo, folder_path=ROOT / folder)
    return hub


def test_the_pipelines_load_by_repository_name_and_take_concepts_from_the_hub(pushed, environment, toy, tmp_path):
    from diffusers_persona.testing import tiny_pipeline

    toy.push_to_hub("anna/toy", token=ANNA)
    bases = {family: str(tmp_path / family) for family in ("sd", "sdxl")}
    for family, folder in bases.items():
        tiny_pipeline(family).save_pretrained(folder)
    job = json.dumps(list(zip(bases.values(), PLACES)))
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, job], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["anna/stable-diffusion-persona"] == ["PersonaPipeline", "StableDiffusionPipeline"]
    assert found["anna/stable-diffusion-xl-persona"] == ["PersonaPipeline", "StableDiffusionXLPipeline"]
    phrase, changed, left_over = found["concept"]
    assert phrase == "<toy>" and changed > 0 and left_over == 0


@pytest.mark.parametrize("folder", PLACES.values())
def test_a_folder_is_a_whole_repository_with_a_card(folder):
    card = ModelCard.load(ROOT / folder / "README.md")
    assert card.data.library_name == "diffusers" and card.data.license == "apache-2.0"
    assert f'custom_pipeline="user/{folder.replace("_", "-")}-persona"' in card.text
