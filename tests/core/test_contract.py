"""The contract of every registered recipe, on every family that it serves."""

import pytest

from diffusers_persona import check_recipe, recipes
from diffusers_persona.conformance import PROMISES

CASES = [(entry.id, family) for entry in recipes.list() for family in entry.backbones if family in ("sd", "sdxl")]


@pytest.mark.parametrize(("recipe", "family"), CASES)
@pytest.mark.evidence(level="contract")
def test_a_recipe_keeps_the_contract(recipe, family):
    assert len(check_recipe(recipe, backbone=family)) == len(PROMISES)


def test_a_broken_promise_is_named(monkeypatch):
    """The check itself can fail: a space that forgets to detach is caught."""
    from diffusers_persona.spaces.sites import WeightSite

    monkeypatch.setattr(WeightSite, "remove", lambda self, name, key: None)
    with pytest.raises(AssertionError, match="recipe 'lora' on sd: "):
        check_recipe("lora", backbone="sd")
