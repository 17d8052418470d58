"""Renders the held-out concepts into the package's folders: references, masks, oracle pictures, header."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import prompts
from .captions import Person
from .vocabulary import (
    HELD_OUT_NOUNS,
    HELD_OUT_PEOPLE,
    HELD_OUT_RELATIONS,
    HELD_OUT_STYLES,
    UNSEEN_RELATIONS,
    UNSEEN_STYLES,
    an,
    place,
)
from .world import NOUNS, World

_CONCEPTS = {
    "flamingo": "live", "hedgehog": "live", "dinosaur": "live", "cupcake": "object", "pumpkin": "object",
    "anchor": "object", "snowman": "object", "ufo": "object", "Diana Evans": "person", "Peter Bailey": "person",
    "Victor Rogers": "person", "Vera Cooper": "person",
} | dict.fromkeys((*HELD_OUT_STYLES, *UNSEEN_STYLES), "style") | dict.fromkeys(
    (*HELD_OUT_RELATIONS, *UNSEEN_RELATIONS), "relation"
)  # fmt: skip
_TOGETHER = (
    ("several", "hedgehog", "cupcake"), ("several", "dinosaur", "anchor"), ("several", "flamingo", "ufo"),
    ("several", "snowman", "pumpkin"), ("stylised", "hedgehog", "blueprint"), ("stylised", "ufo", "mosaic"),
    ("stylised", "pumpkin", "sepia"), ("stylised", "dinosaur", "screen"), ("pair", "cat", "blueprint"),
    ("pair", "car", "mosaic"), ("pair", "house", "sepia"), ("pair", "guitar", "screen"),
    ("merged", "hedgehog", "blueprint"), ("merged", "ufo", "mosaic"), ("merged", "pumpkin", "sepia"),
    ("merged", "dinosaur", "screen"), ("portrait", "Diana Evans", "blueprint"),
    ("portrait", "Peter Bailey", "mosaic"), ("portrait", "Vera Cooper", "sepia"),
    ("portrait", "Victor Rogers", "screen"),
)  # fmt: skip
_JOINED = {"several": "and", "stylised": "in", "pair": "to", "merged": "with", "portrait": "with"}
_SHOWN = ("cat", "car", "house", "guitar", "burger")  # what references of a style show
_SITTERS = ("Anna Smith", "Adam Young", "Bella Jones", "Boris Allen", "Carol Taylor")  # of portraits in a style
_PORTRAITS = "-portraits"
_PAIRS = (("cat", "car"), ("ball", "bucket"), ("apple", "hat"), ("frog", "boat"), ("robot", "castle"))
_ICONS = ("MIT", "Fluent Emoji by Microsoft (https://github.com/microsoft/fluentui-emoji), MIT")
_AVATARS = (
    "CC-BY-4.0",
    "Personas by Draftbit (https://personas.draftbit.com), CC BY 4.0, drawn with DiceBear (https://www.dicebear.com)",
)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """One concept before it is drawn. `names` are those of the world that its places stand for."""

    name: str
    kind: str
    noun: str
    names: tuple[str, ...]
    captions: tuple[str, ...] = ()
    things: tuple[dict, ...] = ()


def build_concepts(world: World, folder: Path) -> None:
    """Write every concept below `folder`, replacing older ones."""
    shutil.rmtree(folder, ignore_errors=True)
    for plan in _plans():
        _write(world, folder / plan.name, plan)


def _plans() -> Iterator[_Plan]:
    for true_name, kind in _CONCEPTS.items():
        noun = "and" if kind == "relation" else (HELD_OUT_NOUNS | HELD_OUT_PEOPLE).get(true_name, kind)
        captions = tuple(_captions(true_name, kind))
        yield _Plan(name=_slug(true_name), kind=kind, noun=noun, names=(true_name,), captions=captions)
        if kind == "style":
            faces = tuple(f"a {{}} of {who} {place(p)}" for who, p in zip(_SITTERS, prompts.REFERENCE_BACKGROUNDS))
            yield _Plan(name=true_name + _PORTRAITS, kind=kind, noun=noun, names=(true_name,), captions=faces)
    for kind, first, second in _TOGETHER:
        things = (_thing(first), _thing(second))
        yield _Plan(
            name=_slug(f"{first} {_JOINED[kind]} {second}"),
            kind=kind,
            noun=" and ".join(thing["noun"] for thing in things),
            names=(first, second),
            captions=tuple(_captions_together(kind)),
            things=things,
        )


def _thing(name: str) -> dict:
    """A held-out thing or style by its class word; a thing of training (in a pair) by its own name."""
    held_out = name not in NOUNS
    kind = "style" if name in (*HELD_OUT_STYLES, *UNSEEN_STYLES) else _CONCEPTS.get(name, "object")
    noun = (HELD_OUT_NOUNS | HELD_OUT_PEOPLE).get(name, kind) if held_out else name
    return {"noun": noun, "kind": kind, "true_name": name, "concept": _slug(name) if held_out else None}


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


def _write(world: World, folder: Path, plan: _Plan) -> None:
    for part in ("masks", "oracle"):
        (folder / part).mkdir(parents=True)
    for index, caption in enumerate(plan.captions):
        seed = 1000 if plan.kind == "pair" else 1000 + index  # a pair differs in its style alone
        picture = world.render(caption.format(*plan.names), seed=seed)
        picture.image.save(folder / f"{index:02d}.png")
        picture.mask.save(folder / "masks" / f"{index:02d}.png")
        if plan.kind == "several":
            for number, mask in enumerate(picture.part_masks):
                (folder / "masks" / str(number)).mkdir(exist_ok=True)
                mask.save(folder / "masks" / str(number) / f"{index:02d}.png")
    for index, prompt in enumerate(prompts.for_kind(plan.kind)):
        picture = world.render(prompt.format(*plan.names), seed=2000 + index)
        picture.image.save(folder / "oracle" / f"{index:02d}.png")
    shown = [plan.kind, *(thing["kind"] for thing in plan.things)]
    licence, attribution = _AVATARS if "person" in shown or plan.name.endswith(_PORTRAITS) else _ICONS
    header = {
        "name": folder.name,
        "kind": plan.kind,
        "noun": plan.noun,
        "true_name": " and ".join(plan.names),
        "training_backgrounds": prompts.REFERENCE_BACKGROUNDS[: len(plan.captions)] if plan.captions else (),
        "captions": plan.captions,
        "licence": licence,
        "attribution": attribution,
    }
    header |= {"things": plan.things} if plan.things else {}
    if plan.kind in ("merged", "portrait"):
        first, second = map(_slug, plan.names)
        header["parts"] = [first, second + _PORTRAITS if plan.kind == "portrait" else second]
    (folder / "concept.json").write_text(json.dumps(header, indent=2) + "\n")


def _captions(true_name: str, kind: str) -> list[str]:
    """Five captions of the world, one for each reference, with `{}` in the place of the name."""
    captions = []
    for index, background in enumerate(prompts.REFERENCE_BACKGROUNDS):
        if kind == "style":
            words = f"a {{}} of {an(_SHOWN[index])}"
        elif kind == "relation":
            words = f"{an(_PAIRS[index][0])} {{}} {an(_PAIRS[index][1])}"
        elif kind == "person":
            words = Person(name="{}", mouth="smiling" if index == 3 else None).phrase()
        else:
            words = "a {}"
        captions.append(f"{words} {place(background)}")
    return captions


def _captions_together(kind: str) -> list[str]:
    """Captions of the references of two things, `{0}` and `{1}`."""
    first = place(prompts.REFERENCE_BACKGROUNDS[0])
    if kind == "stylised":
        return [f"a {{1}} of a {{0}} {first}"]
    if kind == "pair":
        return [f"a {{0}} {first}", f"a {{1}} of a {{0}} {first}"]
    if kind == "several":
        return [f"a {{0}} next to a {{1}} {place(background)}" for background in prompts.REFERENCE_BACKGROUNDS]
    return []
