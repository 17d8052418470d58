"""Options that several commands share, and how their words are read."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from diffusers_persona.errors import PersonaError

KINDS = ("object", "live", "person", "style")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda", "mps")

Base = Annotated[
    str,
    typer.Option(
        help="Base model: [cyan]toybox[/] (embedded), a diffusers folder, or a Hub id.", metavar="DIR|toybox"
    ),
]
Token = Annotated[str | None, typer.Option(help="The word for the concept; the recipe chooses one when left out.")]
Noun = Annotated[str | None, typer.Option(help="What it is, in a word the model knows: dog, toy, woman, painting.")]
Kind = Annotated[str | None, typer.Option(help="object, live, person or style; chooses prompt templates.")]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
Steps = Annotated[int, typer.Option(help="Sampler steps a picture.", min=1)]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale; the pipeline's own when left out.")]
Numbers = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A number of the recipe, e.g. [cyan]--set rank=8[/]. May be repeated.", metavar="KEY=VALUE"
    ),
]
RecipeNumbers = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A number of one recipe, e.g. [cyan]--set lora.rank=8[/]. May be repeated.",
        metavar="RECIPE.KEY=VALUE",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto (bf16 for models of full size), fp32, bf16 or fp16.")]


def assignments(words: Sequence[str] | None) -> dict[str, Any]:
    """Read ``key=value`` words; values are JSON where they parse as JSON, else text.

    Raises:
        PersonaError: a word without ``=`` or without a key, or a key given twice.
    """
    numbers: dict[str, Any] = {}
    for word in words or ():
        key, equals, value = word.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise PersonaError(f"--set {word!r} is not KEY=VALUE, e.g. --set rank=8")
        if key in numbers:
            raise PersonaError(f"--set {key} was given twice; keep one")
        try:
            numbers[key] = json.loads(value)
        except ValueError:
            numbers[key] = value
    return numbers


def one_of(value: str, allowed: Sequence[str], option: str) -> str:
    """The value, when it is allowed.

    Raises:
        PersonaError: it is not; the message lists what is.
    """
    if value not in allowed:
        raise PersonaError(f"{option} {value!r} is not one of: {', '.join(allowed)}")
    return value


def words(text: str, option: str) -> list[str]:
    """The parts of a comma-separated list, in order, each once.

    Raises:
        PersonaError: the list is empty.
    """
    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise PersonaError(f"{option} is empty; give a comma-separated list")
    return parts


def by_recipe(recipes: list[str], numbers: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Split ``recipe.key`` numbers by recipe; a key without a recipe goes to all.

    Raises:
        PersonaError: a recipe that is not compared.
    """
    split: dict[str, dict[str, Any]] = {name: {} for name in recipes}
    for key, value in numbers.items():
        recipe, dot, name = key.rpartition(".")
        recipe = recipe.replace("_", "-")
        if dot and recipe not in split:
            raise PersonaError(f"--set {key}: {recipe!r} is not among --recipes {','.join(recipes)}")
        for target in [recipe] if dot else recipes:
            split[target][name] = value
    return split
