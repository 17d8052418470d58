"""The held-out concepts that ship as folders of PNGs: what personalisation learns and is measured on."""

import json
from dataclasses import dataclass
from pathlib import Path

from diffusers_persona.errors import PersonaError

FOLDER = Path(__file__).parent / "concepts"


@dataclass(frozen=True, kw_only=True)
class ToyConcept:
    """One held-out concept. `noun` is the class word that the model knows; `true_name` its name in the world.

    `references` are 64x64 PNGs on `training_backgrounds` (one each), `masks` their foregrounds, `oracle` the world's
    own picture for each prompt of `toybox.prompts.for_kind(kind)`, in that order.
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


def concepts(kind: str | None = None) -> list[ToyConcept]:
    """All shipped concepts, or those of a kind (object, live, person, style, relation), by kind and name."""
    every = [_read(path.parent) for path in sorted(FOLDER.glob("*/concept.json"))]
    order = ("live", "object", "person", "style", "relation")
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
    )
