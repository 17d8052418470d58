"""The registry: declared once, listed without torch, open to plugins."""

import importlib.metadata
import subprocess
import sys
import types

import pytest

from diffusers_persona import PersonaError, Recipe, inversion, losses, recipes, schemes, spaces
from diffusers_persona.recipe import recipe as declare


def test_the_four_first_recipes_are_registered():
    ids = {entry.id for entry in recipes.list()}
    assert {"textual-inversion", "dreambooth", "lora", "custom-diffusion"} <= ids


def test_the_numbers_are_the_papers():
    assert recipes.get("textual-inversion").defaults["lr"] == 5e-3
    assert recipes.get("textual-inversion").defaults["steps"] == 5000
    assert recipes.get("dreambooth").defaults["lr"] == 5e-6
    assert recipes.get("custom-diffusion").defaults["steps"] == 250


def test_numbers_of_the_caller_win_over_those_for_miniature_hosts_and_those_over_the_papers():
    entry = recipes.get("lora")
    assert entry.resolve({})["rank"] == 4
    assert entry.resolve({}, miniature=True)["rank"] == 8
    assert entry.resolve({"rank": 2}, miniature=True)["rank"] == 2


def test_an_unknown_number_is_refused_with_the_known_ones():
    with pytest.raises(PersonaError, match="no number 'ranks'; it has: rank"):
        recipes.get("lora").build(ranks=3)


def test_an_unknown_recipe_is_refused_with_the_nearest_name():
    with pytest.raises(PersonaError, match="did you mean lora"):
        recipes.get("lorra")


def test_the_repr_of_a_recipe_rebuilds_it():
    parts = [part for part in vars(inversion).values() if isinstance(part, types.ModuleType)]
    modules = (spaces, losses, schemes, inversion, *parts)
    names = {"Recipe": Recipe}
    for module in modules:
        names |= vars(module)
    for entry in recipes.list():
        built = entry.build()
        assert eval(repr(built), names) == built


def test_the_listing_loads_no_torch():
    look = "[entry.space for entry in recipes.list()]; print('torch' in sys.modules)"
    code = f"import sys; from diffusers_persona import recipes; {look}"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False"


def test_a_plugin_adds_a_recipe_by_entry_point(monkeypatch):
    from diffusers_persona.recipe import _REGISTRY

    def plugin():
        @declare(ref=0, family="diffusion", category="subject", backbones=("sd",), paper="none")
        def two_words(*, steps=10):
            """Two Words for One Thing."""
            return Recipe(
                space=[spaces.Word(vectors=2)],
                method=inversion.Optimization(steps=steps, lr=1e-2, losses=[losses.Denoising()]),
                scheme=schemes.Prompting(),
                data=inversion.Data(prompts=inversion.prompts.Neutral()),
            )

    class Point:
        load = staticmethod(plugin)

    import diffusers_persona.recipe as registry

    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [Point] if group == registry.ENTRY_POINTS else []
    )
    monkeypatch.setattr(registry, "_loaded", False)
    try:
        assert recipes.get("two-words").space == ["word"]
    finally:
        _REGISTRY.pop("two-words", None)


def test_a_recipe_with_positional_or_undocumented_numbers_is_refused():
    def positional(steps=1):
        """Title."""

    def undocumented(*, steps=1):
        return None

    facts = dict(ref=0, family="diffusion", category="subject", backbones=("sd",), paper="none")
    with pytest.raises(TypeError, match="keyword-only"):
        declare(**facts)(positional)
    with pytest.raises(TypeError, match="docstring"):
        declare(**facts)(undocumented)
