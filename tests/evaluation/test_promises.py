"""What recipes promise against a plain method, from rows."""

import dataclasses

import pytest

from diffusers_persona import recipes
from diffusers_persona.evaluation.levels import read_evidence, record_efficacy, record_tests
from diffusers_persona.evaluation.methods import methods_page
from diffusers_persona.evaluation.promises import MEASURES, outcome, outcomes
from diffusers_persona.evaluation.summary import summarise
from diffusers_persona.evaluation.tables import scoreboard
from diffusers_persona.recipe import PROMISES


def row(recipe, concept, seed, *, obedience=0.5, seconds=10.0, size=1000, pres=0.2, leak=0.3):
    return {
        "recipe": recipe, "concept": concept, "kind": "object", "seed": seed, "prompts": ["a {}"],
        "learn_cpu_seconds": seconds, "artifact_bytes": size, "sets": {"pres": pres, "leak": leak},
        "scores": [{"prompt": 0, "image": 0, "obedience": obedience, "fidelity": 0.6}],
    }  # fmt: skip


def cells(recipe, **values):
    return [row(recipe, concept, seed, **values) for concept in ("a", "b", "c", "d") for seed in (0, 1)]


def test_every_kind_of_promise_is_measured():
    assert set(MEASURES) == set(PROMISES)


@pytest.mark.parametrize(
    ("kind", "better"),
    [
        ("faster", {"seconds": 5.0}),
        ("smaller", {"size": 10}),
        ("editable", {"obedience": 0.9}),
        ("remembers", {"pres": 0.1}),
        ("disentangled", {"leak": 0.0}),
    ],
)
def test_a_promise_holds_where_the_recipe_is_better_and_not_where_it_is_equal_or_worse(kind, better):
    plain, kept = cells("lora"), cells("new", **better)
    assert outcome(kind, kept, "lora", plain).holds is True
    assert outcome(kind, plain, "lora", plain).holds is False
    assert outcome(kind, plain, "new", kept).holds is False


def test_a_ratio_is_told_as_a_factor():
    assert outcome("faster", cells("new", seconds=5.0), "lora", cells("lora")).text == "x0.50 [x0.50, x0.50]"
    assert outcome("editable", cells("new", obedience=0.75), "lora", cells("lora")).text.startswith("+0.250 [")


def test_rows_of_other_concepts_measure_nothing():
    other = [row("lora", "z", 0)]
    found = outcome("editable", cells("new"), "lora", other)
    assert found.holds is None and found.text == "not measured"
    assert outcome("editable", cells("new")[:2], "lora", cells("lora")).holds is None


def test_the_outcomes_stand_in_the_evidence_and_on_the_pages(tmp_path):
    entry = dataclasses.replace(recipes.get("lora"), id="new", promise=(("editable", "lora"), ("faster", "lora")))
    found = outcomes([entry, recipes.get("lora")], [*cells("new", obedience=0.9), *cells("lora")])
    assert [each.holds for each in found["new"]] == [True, False] and "lora" not in found
    path = tmp_path / "evidence.json"
    record_efficacy([], path, promises=found)
    record_tests([("new", "contract", "passed")], path)
    evidence = read_evidence(path)
    page = methods_page([entry], evidence)
    assert "editable > LoRA: yes, faster > LoRA: **no**" in page
    assert "promise, faster, against lora: **does not hold here** (x1.00" in page


def test_the_scoreboard_tells_promises(rows):
    found = {"lora": [outcome("faithful", rows_of(rows, "lora"), "useless", rows_of(rows, "useless"))]}
    page = scoreboard(rows, summarise(rows), promises=found)
    (line,) = (line for line in page.splitlines() if line.startswith("| `lora` | faithful"))
    assert "| faithful | `useless` | yes | fidelity | +0.4" in line


def rows_of(rows, recipe):
    return [each for each in rows if each["recipe"] == recipe]
