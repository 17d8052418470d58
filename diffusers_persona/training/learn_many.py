"""`learn_many`: several concepts in one call, and where they are words, in one run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from .. import backbones
from ..concept import Concept
from ..errors import PersonaError
from ..recipe import Recipe
from .learn import learn, teach
from .plan import Lesson, Settings, resolve_recipe, several
from .progress import note
from .rehearsing import rehearsed


def learn_many(
    pipe,
    concepts: Mapping,
    recipe: str | Recipe = "textual-inversion",
    *,
    noun: str | Mapping[str, str] = "thing",
    kind: str | Mapping[str, str] = "object",
    masks: Mapping | None = None,
    output=None,
    **options,
) -> list[Concept]:
    """Teaches several concepts; each is what `learn` makes of it alone.

    Concepts that are new words, and nothing else, do not touch one another: they are learned in one run, with all
    their pictures in each forward pass, and a step takes as much memory as their batches together. Recipes that change
    weights have one host for each concept: they take turns in this process and share the generated class pictures.

    Args:
        pipe: a diffusers pipeline of a family that the recipe serves; it stays as it is.
        concepts: name -> pictures as for `learn`. For recipes that add a word, the name is the word: ``"<toy>"``, and
            ``"toy"`` is the same; for others it names the concept's folder in `output`.
        recipe: id of a registered recipe, or a `Recipe`.
        noun, kind: as for `learn`, one for all or name -> value.
        masks: name -> masks.
        output: folder of the run; each concept goes into a folder of its own in it, named as the concept.
        **options: every other option of `learn` but `token`, and the recipe's numbers; they hold for all.

    Returns:
        The concepts in the order of `concepts`.

    Raises:
        PersonaError: for input that cannot work, in one line.
    """
    if not concepts:
        raise PersonaError("learn_many was given no concept; give {name: pictures}")
    if "token" in options:
        raise PersonaError("learn_many takes no token=: the names of the concepts are the words")
    fields = {field.name for field in dataclasses.fields(Settings)}
    settings = Settings(**{key: value for key, value in options.items() if key in fields})
    numbers = {key: value for key, value in options.items() if key not in fields}
    _, declared, _ = resolve_recipe(recipe, backbones.of(pipe), numbers, settings.accumulation)
    new_words = any(space.adds_token for space in declared.space)
    folder = None if output is None else Path(output)
    places = _places(concepts, folder)
    lessons = [
        Lesson(
            images=images,
            token=_word(name) if new_words else None,
            noun=_of(noun, name, "thing"),
            kind=_of(kind, name, "object"),
            masks=_of(masks or {}, name, None),
            place=places[name],
        )
        for name, images in concepts.items()
    ]
    if all(space.adds_token for space in declared.space) and not several(declared) and not rehearsed(declared):
        return teach(pipe, lessons, recipe, numbers, settings, folder=folder)
    if not settings.keep_pipe:
        raise PersonaError(f"keep_pipe=False: concepts of {recipe!r:.60} take turns on the pipeline; leave it out")
    found = []
    for number, lesson in enumerate(lessons, 1):
        note(f"concept {number} of {len(lessons)}: recipes that change weights take turns", show=settings.progress)
        found.append(_alone(pipe, lesson, recipe, options))
    return found


def _alone(pipe, lesson: Lesson, recipe, options: dict) -> Concept:
    facts = {"token": lesson.token, "noun": lesson.noun, "kind": lesson.kind, "masks": lesson.masks}
    return learn(pipe, lesson.images, recipe, output=lesson.place, **facts, **options)


def _of(values, name: str, default):
    return values.get(name, default) if isinstance(values, Mapping) else values


def _word(name: str) -> str:
    return name if name.startswith("<") else f"<{name}>"


def _places(names, folder: Path | None) -> dict[str, Path | None]:
    """The folder of each concept, by its name without what does not belong into the name of a folder."""
    plain = {name: re.sub(r"[^\w.-]+", "-", name).strip("-.") or "concept" for name in names}
    if len(set(plain.values())) < len(plain):
        raise PersonaError(f"the concepts {', '.join(plain)} would share a folder; give them names that differ more")
    return {name: None if folder is None else folder / place for name, place in plain.items()}
