"""The main job on the embedded Toybox, with its own instruments as judges; few steps, so that it is quick."""

from pathlib import Path

import pytest
from PIL import Image

MODELS = Path(__file__).parents[2] / "diffusers_persona" / "toybox" / "models"
pytestmark = pytest.mark.skipif(
    not (MODELS / "pipeline").is_dir() or not (MODELS / "instruments.json").is_file(),
    reason="the Toybox's models are not built: run python -m diffusers_persona.toybox.build",
)
QUICK = ("--set", "steps=2", "--steps", "3")


def test_demo_draws_references_base_recipes_and_a_composition_and_measures_them(persona):
    code, out, _ = persona("demo", *QUICK)
    assert code == 0
    for row in ("base model", "textual-inversion", "lora", "copy-paste", "real pictures"):
        assert row in out
    assert out.strip().endswith("demo/demo.png")
    assert Image.open("demo/demo.png").height > 6 * 128


@pytest.mark.parametrize("name", ["diana-evans", "blueprint"])
def test_people_and_styles_are_compared_with_scores(persona, name):
    code, out, _ = persona(
        "compare", "--recipes", "textual-inversion", "--images", f"toybox:{name}", *QUICK, "--count", 1
    )
    assert code == 0
    assert "obedience" in out and "copy-paste" in out


def test_what_was_learned_on_the_toybox_is_generated_on_it(persona):
    words = (
        "learn",
        "toybox:ufo",
        "--recipe",
        "textual-inversion",
        "--token",
        "<toy>",
        "--steps",
        1,
        "--output",
        "toy",
    )
    assert persona(*words)[0] == 0
    code, out, _ = persona("generate", "toy", "--prompt", "a {} in the snow", "--count", 1, "--steps", 2)
    assert (code, out.strip()) == (0, "pictures/grid.png")
    assert "toybox.load()" in Path("toy/README.md").read_text()
