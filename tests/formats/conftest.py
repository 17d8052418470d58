import pytest
from factors import pipe_of

from diffusers_persona.testing import tiny_pictures


@pytest.fixture
def learn_one(tmp_path, monkeypatch):
    """learn_one(recipe, **numbers) -> Concept after two steps on the tiny pipeline."""
    from diffusers_persona import learn
    from diffusers_persona.recipe import get

    monkeypatch.setenv("PERSONA_CACHE", str(tmp_path / "cache"))

    def learn_one(recipe, family="sd", **numbers):
        chosen = {"steps": 2, "lr": 2e-2, "batch_size": 1, "prior_weight": 0.0} | numbers
        known = {name: value for name, value in chosen.items() if name in get(recipe).defaults}
        return learn(pipe_of(family), tiny_pictures(2), recipe, noun="dog", progress=False, **known)

    return learn_one
