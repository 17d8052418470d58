"""`persona recipes`: generated from the registry, quick, and honest about what is known."""

import json
import subprocess
import sys

import pytest

from diffusers_persona import recipes

LEVELS = {"contract", "parity", "efficacy", "formats"}


def test_json_lists_every_recipe_with_its_facts_and_computed_levels(persona):
    code, out, err = persona("recipes", "--json")
    rows = json.loads(out)
    assert code == 0 and err == []
    assert [row["id"] for row in rows] == [entry.id for entry in recipes.list()]
    for row in rows:
        assert set(row) == {"id", "family", "category", "space", "method", "ref", "backbones", "levels"}
        assert set(row["levels"]) == LEVELS
        assert set(row["levels"].values()) <= {"pass", "fail", "unknown"}
        assert isinstance(row["ref"], int) and row["space"] and row["backbones"] and isinstance(row["method"], str)


@pytest.mark.parametrize("words", [("--family", "diffusion"), ("--category", "multi"), ("--backbone", "sdxl")])
def test_filters_keep_what_matches(persona, words):
    rows = json.loads(persona("recipes", "--json", *words)[1])
    key = {"--family": "family", "--category": "category", "--backbone": "backbones"}[words[0]]
    assert rows
    assert all(words[1] in row[key] for row in rows)


def test_a_filter_that_matches_nothing_says_so(persona):
    assert json.loads(persona("recipes", "--json", "--family", "nothing")[1]) == []
    assert "no recipe matches" in persona("recipes", "--family", "nothing")[1]


def test_one_recipe_is_shown_with_its_paper_and_numbers(persona):
    out = persona("recipes", "textual-inversion")[1]
    assert "2208.01618" in out
    for name in recipes.get("textual-inversion").defaults:
        assert name in out


def test_listing_loads_no_torch():
    code = "import sys; from diffusers_persona.cli import main; main(['recipes']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
