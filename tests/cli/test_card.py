"""The card: YAML that the Hub understands, and what a stranger needs to use the concept."""

import json

import pytest
from huggingface_hub import ModelCard

from diffusers_persona import recipes
from diffusers_persona.card import render_card, write_card
from diffusers_persona.errors import PersonaError

HEADER = {
    "schema_version": 1,
    "recipe": "lora",
    "token": "sks",
    "phrase": "sks dog",
    "noun": "dog",
    "kind": "live",
    "numbers": {"rank": 4, "lr": 1e-4},
    "spaces": [{"kind": "low_rank"}],
    "base_model": {"name": "someone/some-model", "family": "sd", "pipeline": "StableDiffusionPipeline"},
    "training": {"steps": 7, "images": [{"name": "a.png"}] * 4, "loss_curve": [2.0, 1.0]},
    "licence": "cc-by-4.0",
    "consent": "",
    "versions": {"diffusers": "0.42.1"},
}
LORA = "pytorch_lora_weights.safetensors"


def card(*, files=(LORA,), **changes):
    return ModelCard(render_card({**HEADER, **changes}, files=files, entry=recipes.get("lora")))


def test_the_metadata_says_what_the_hub_wants_to_know():
    data = card(files=(LORA, "previews/00.png")).data
    assert data.library_name == "diffusers"
    assert data.base_model == "someone/some-model"
    assert data.license == "cc-by-4.0"
    assert data.instance_prompt == "a sks dog"
    assert {"diffusers", "diffusers-persona", "lora", "text-to-image"} <= set(data.tags)
    assert data.widget[0]["output"]["url"] == "previews/00.png"


def test_the_text_tells_use_numbers_training_paper_and_licence():
    text = card().content
    for fact in (
        "load_lora_weights",
        "Concept.from_pretrained",
        "sks dog",
        "`rank`",
        "2106.09685",
        "4 pictures",
        "cc-by-4.0",
    ):
        assert fact in text


def test_every_python_example_is_valid_python():
    blocks = card().content.split("```python\n")[1:]
    assert len(blocks) == 2
    for block in blocks:
        compile(block.split("```")[0], "card", "exec")


def test_a_part_without_a_stock_format_is_not_promised_to_plain_diffusers():
    partly = card(spaces=[{"kind": "word"}, {"kind": "key_weights"}], files=("learned_embeds.safetensors",)).content
    assert "Only a part" in partly and "key_weights" in partly
    assert "no stock diffusers format" in card(files=()).content


def test_people_need_consent():
    assert "No consent is recorded" in card(kind="person").content
    assert "agreed in writing" in card(kind="person", consent="agreed in writing").content


@pytest.mark.parametrize(
    "licence, expected", [("MIT", ("mit", None)), ("my own", ("other", "my own")), ("", (None, None))]
)
def test_licences_that_the_hub_does_not_list_become_other(licence, expected):
    data = card(licence=licence).data
    assert (data.license, data.license_name if "license_name" in data else None) == expected


def test_the_toybox_is_loaded_by_its_own_function():
    assert "toybox.load()" in card(base_model={"name": "toybox"}).content


def test_what_a_user_typed_cannot_break_out_of_the_card():
    text = card(
        noun="<img src=x onerror=y>|`", token="<a>", phrase='<a>" + evil() + "', consent="</script>[x](y)"
    ).content
    assert "<img" not in text.replace("`<img src=x onerror=y>", "") and "</script>" not in text
    for block in text.split("```python\n")[1:]:
        code = compile(block.split("```")[0], "card", "exec")
        assert "evil" not in code.co_names


def test_a_saved_concept_gets_its_card_and_can_get_a_new_one(concepts):
    folder = concepts / "lora"
    assert ModelCard((folder / "README.md").read_text()).data.library_name == "diffusers"
    assert "fidelity" in write_card(folder, scores={"fidelity": 0.8}).read_text()


def test_a_folder_without_a_header_gets_no_card(tmp_path):
    with pytest.raises(PersonaError, match="no concept.json"):
        write_card(tmp_path)
    (tmp_path / "concept.json").write_text(json.dumps(HEADER)[:-1])
    with pytest.raises(PersonaError, match="not valid JSON"):
        write_card(tmp_path)
