"""The held-out concepts that ship as folders of PNGs: what personalisation learns and is measured on."""

import json
from dataclasses import dataclass
from pathlib import Path

from diffusers_persona.errors import PersonaError

FOLDER = Path(__file__).parent / "concepts"
KINDS = {
    "live": "an animal or a plant",
    "object": "a thing",
    "person": "a person",
    "style": "a style, shown by several things",
    "relation": "how two things lie, shown by several pairs",
    "several": "two things that stand together in each picture",
    "stylised": "one picture, of a thing in a style: both are to be learned from it",
    "pair": "a plain picture, and the same picture in a style",
    "merged": "a thing and a style that are learned one by one and then used in one picture",
    "portrait": "a person and a style, each with pictures of its own, that are then used in one picture",
}
"""Kind of a concept -> what its pictures show, in the order of `concepts`."""


@dataclass(frozen=True, kw_only=True)
class ToyThing:
    """One of several things of a concept: its class word, its kind and its name in the world.

    `references` show it alone, for scoring; a concept's own pictures may not.
    """

    noun: str
    kind: str
    true_name: str
    references: list[Path]


@dataclass(frozen=True, kw_only=True)
class ToyConcept:
    """One held-out concept. `noun` is the class word that the model knows; `true_name` its name in the world.

    `references` are 64x64 PNGs on `training_backgrounds` (one each), `masks` their foregrounds, `oracle` the world's
    own picture for each prompt of `toybox.prompts.for_kind(kind)`, in that order. In the `captions` the concept's
    place is `{}`, or `{0}` and `{1}` where it has several `things`; `part_masks` are then those of each thing.
    `parts`: concepts that are learned one by one, in place of references.
    """

    name: str
    kind: str
    noun: str
    true_name: str
    folder: Path
    references: list[Path]
    masks: list[Path]
    oracle: list[Path]
    training_backgrounds: tuple[str, ...]
    captions: tuple[str, ...]
    licence: str
    attribution: str
    things: tuple[ToyThing, ...] = ()
    part_masks: tuple[list[Path], ...] = ()
    parts: tuple["ToyConcept", ...] = ()


def concepts(kind: str | None = None) -> list[ToyConcept]:
    """All shipped concepts, or those of a kind (see `KINDS`), by kind and name."""
    every = [_read(path.parent) for path in sorted(FOLDER.glob("*/concept.json"))]
    order = list(KINDS)
    every.sort(key=lambda concept: (order.index(concept.kind), concept.name))
    return [concept for concept in every if kind in (None, concept.kind)]


def concept(name: str) -> ToyConcept:
    """The shipped concept called `name`."""
    if not (FOLDER / name / "concept.json").is_file():
        known = ", ".join(concept.name for concept in concepts())
        raise PersonaError(f"the Toybox has no concept {name!r}; choose one of {known}")
    return _read(FOLDER / name)


def _read(folder: Path) -> ToyConcept:
    header = json.loads((folder / "concept.json").read_text())
    things = tuple(_thing(folder, thing) for thing in header.get("things", ()))
    return ToyConcept(
        name=header["name"],
        kind=header["kind"],
        noun=header["noun"],
        true_name=header["true_name"],
        folder=folder,
        references=sorted(folder.glob("*.png")),
        masks=sorted((folder / "masks").glob("*.png")),
        oracle=sorted((folder / "oracle").glob("*.png")),
        training_backgrounds=tuple(header["training_backgrounds"]),
        captions=tuple(header["captions"]),
        licence=header["licence"],
        attribution=header["attribution"],
        things=things,
        part_masks=tuple(sorted((folder / "masks" / str(number)).glob("*.png")) for number in range(len(things))),
        parts=tuple(_read(folder.parent / name) for name in header.get("parts", ())),
    )


def _thing(folder: Path, header: dict) -> ToyThing:
    """A thing of a concept; it is scored by the pictures of the shipped concept that shows it alone, if any does."""
    shown = folder.parent / header["concept"] if header["concept"] else folder
    return ToyThing(
        noun=header["noun"],
        kind=header["kind"],
        true_name=header["true_name"],
        references=sorted(shown.glob("*.png")),
    )
