"""Figures and verdicts from result rows."""

import pytest

from diffusers_persona.evaluation.summary import REFERENCE_ROWS, summarise


def by_name(rows, **options):
    return {summary.recipe: summary for summary in summarise(rows, **options)}


def test_a_recipe_that_is_better_passes_and_one_that_is_not_fails(rows):
    found = by_name(rows)
    assert found["lora"].verdict.passed
    assert found["lora"].verdict.fidelity.mean == pytest.approx(0.43, abs=0.02)
    assert not found["useless"].verdict.passed
    assert found["useless"].verdict.obedience.above_zero


def test_copying_the_reference_would_not_pass_as_a_recipe(rows):
    copies = [row | {"recipe": "copier"} for row in rows if row["recipe"] == "copy-paste"]
    verdict = by_name(rows + copies)["copier"].verdict
    assert verdict.fidelity.above_zero and not verdict.obedience.above_zero and not verdict.passed
    assert verdict.price.below_zero


def test_reference_rows_come_first_and_carry_no_verdict(rows):
    found = summarise(rows)
    assert [summary.recipe for summary in found] == [*REFERENCE_ROWS, "lora", "useless"]
    assert all((summary.verdict is None) == summary.is_reference for summary in found)


def test_without_a_base_there_is_no_verdict(rows):
    assert by_name([row for row in rows if row["recipe"] != "base"])["lora"].verdict is None


def test_identity_is_averaged_over_people_alone(rows):
    found = by_name(rows)["lora"]
    assert found.means["id"].clusters == 2 and found.means["dino_i_masked"].clusters == 8


def test_concepts_that_only_one_side_has_do_not_enter_the_difference(rows):
    fewer = [row for row in rows if row["recipe"] != "lora" or row["concept"] in ("c0", "c1", "c2")]
    assert by_name(fewer)["lora"].verdict.fidelity.clusters == 3
