"""The main job by command line, on a tiny model: learn, generate, compare."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diffusers_persona as dp


def test_learn_writes_a_concept_and_prints_its_folder(persona, base, pictures):
    words = ("learn", pictures, "--base", base, "--noun", "dog", "--recipe", "textual-inversion", "--token", "<rex>")
    code, out, err = persona(
        *words, "--steps", 2, "--lr", 0.1, "--set", "vectors=2", "--output", "rex", "--licence", "mit"
    )
    concept = dp.Concept.from_pretrained("rex")
    assert code == 0
    assert out.strip() == "rex"
    assert any("<rex>" in line for line in err)
    assert concept.phrase == "<rex>"
    assert concept.header["licence"] == "mit"
    assert {"steps": 2, "lr": 0.1, "vectors": 2}.items() <= concept.header["numbers"].items()


def test_learning_twice_into_one_folder_needs_resume_and_gives_the_same_concept(persona, base, pictures):
    words = ("learn", pictures, "--base", base, "--noun", "dog", "--steps", 2, "--output", "dog")
    assert persona(*words)[0] == 0
    first = dp.Concept.from_pretrained("dog").digest
    code, _, err = persona(*words)
    assert code == 2 and "resume" in err[-1]
    assert persona(*words, "--resume")[0] == 0
    assert dp.Concept.from_pretrained("dog").digest == first


def test_bad_pictures_are_refused_by_name_or_skipped_on_request(persona, base, pictures, tmp_path):
    (tmp_path / "mixed").mkdir()
    for picture in pictures.iterdir():
        (tmp_path / "mixed" / picture.name).write_bytes(picture.read_bytes())
    (tmp_path / "mixed" / "broken.png").write_bytes(b"no picture at all")
    words = ("learn", "mixed", "--base", base, "--noun", "dog", "--steps", 1)
    code, _, err = persona(*words)
    assert code == 2 and "broken.png" in err[-1]
    assert persona(*words, "--skip-bad-pictures")[0] == 0


def test_generate_writes_every_picture_and_a_grid(persona, base, concepts):
    words = ("generate", concepts / "lora", "--base", base)
    words += ("--prompt", "a {} on the beach", "--prompt", "a red sks dog")
    code, out, _ = persona(*words, "--count", 3, "--steps", 1, "--seed", 5)
    names = [path.name for path in sorted(Path("pictures").glob("0*.png"))]
    assert code == 0
    assert out.strip() == "pictures/grid.png"
    assert len(names) == 6
    assert "00-a-sks-dog-on-the-beach-seed5.png" in names and "01-a-red-sks-dog-seed7.png" in names
    assert Image.open("pictures/grid.png").width > 3 * 128


def test_a_base_model_that_lay_in_a_folder_must_be_given_again(persona, concepts):
    code, _, err = persona("generate", concepts / "lora", "--prompt", "a {}", "--count", 1, "--steps", 1)
    assert code == 2 and "--base" in err[-1]


def test_a_picture_depends_on_its_seed_not_on_its_place_in_the_batch(persona, base, concepts):
    words = ("generate", concepts / "lora", "--base", base, "--prompt", "a {}", "--steps", 2)
    persona(*words, "--seed", 3, "--count", 2, "--output", "many")
    persona(*words, "--seed", 4, "--count", 1, "--output", "one")
    many, one = (np.asarray(Image.open(f"{name}/00-a-sks-dog-seed4.png"), dtype=np.int16) for name in ("many", "one"))
    assert np.abs(many - one).max() <= 1


def test_several_concepts_work_in_one_prompt_each_with_its_scale(persona, base, concepts):
    words = ("generate", concepts / "lora", concepts / "textual-inversion", "--base", base, "--count", 1, "--steps", 2)
    prompt = ("--prompt", "a {1} on a {0}")
    assert persona(*words, *prompt, "--scale", 1, "--scale", 1, "--output", "both")[0] == 0
    assert persona(*words, *prompt, "--scale", 0, "--scale", 1, "--output", "weak")[0] == 0
    both, weak = (
        np.asarray(Image.open(f"{name}/00-a-dog-on-a-sks-dog-seed0.png"), dtype=np.int16) for name in ("both", "weak")
    )
    assert np.abs(both - weak).max() > 0


def test_compare_shows_base_and_recipes_and_keeps_the_concepts(persona, base, pictures):
    words = ("compare", "--recipes", "lora,textual-inversion", "--images", pictures, "--noun", "dog", "--base", base)
    numbers = ("--set", "steps=2", "--set", "lora.rank=2")
    code, out, _ = persona(
        *words, *numbers, "--steps", 1, "--count", 1, "--prompt", "a {} on the beach", "--prompt", "a red {}"
    )
    assert code == 0
    for row in ("base model", "lora", "textual-inversion"):
        assert row in out
    assert out.strip().endswith("comparison/compare.png")
    assert json.loads(Path("comparison/lora/concept.json").read_text())["numbers"]["rank"] == 2
    assert Image.open("comparison/compare.png").height > 3 * 256


@pytest.mark.parametrize(
    "template, text",
    [
        ("a {} and a {}", "a <a> and a b c"),
        ("a {1} of a {0}", "a b c of a <a>"),
        ("a <a> with {1}", "a <a> with b c"),
        ("a <a> with a b c", "a <a> with a b c"),
    ],
)
def test_prompts_take_phrases_in_order_by_number_or_as_words(template, text):
    from diffusers_persona.cli.pictures import fill

    assert fill(template, ["<a>", "b c"]) == text
