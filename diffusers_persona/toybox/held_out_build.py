"""Renders the held-out concepts into the package's folders: references, masks, oracle pictures, header."""

import json
import shutil
from pathlib import Path

from . import prompts
from .captions import Person
from .vocabulary import HELD_OUT_NOUNS, HELD_OUT_PEOPLE, an, place
from .world import World

_CONCEPTS = {
    "flamingo": "live", "hedgehog": "live", "dinosaur": "live", "cupcake": "object", "pumpkin": "object",
    "anchor": "object", "snowman": "object", "ufo": "object", "Diana Evans": "person", "Peter Bailey": "person",
    "Victor Rogers": "person", "blueprint": "style", "mosaic": "style", "behind": "relation", "inside": "relation",
}  # fmt: skip
_SHOWN = ("cat", "car", "house", "guitar", "burger")  # what references of a style show
_PAIRS = (("cat", "car"), ("ball", "bucket"), ("apple", "hat"), ("frog", "boat"), ("robot", "castle"))
_ICONS = ("MIT", "Fluent Emoji by Microsoft (https://github.com/microsoft/fluentui-emoji), MIT")
_AVATARS = (
    "CC-BY-4.0",
    "Personas by Draftbit (https://personas.draftbit.com), CC BY 4.0, drawn with DiceBear (https://www.dicebear.com)",
)


def build_concepts(world: World, folder: Path) -> None:
    """Write every concept below `folder`, replacing older ones."""
    shutil.rmtree(folder, ignore_errors=True)
    for true_name, kind in _CONCEPTS.items():
        _write(world, folder / true_name.lower().replace(" ", "-"), true_name, kind)


def _write(world: World, folder: Path, true_name: str, kind: str) -> None:
    for part in ("masks", "oracle"):
        (folder / part).mkdir(parents=True)
    captions = _captions(true_name, kind)
    for index, caption in enumerate(captions):
        picture = world.render(caption, seed=1000 + index)
        picture.image.save(folder / f"{index:02d}.png")
        picture.mask.save(folder / "masks" / f"{index:02d}.png")
    for index, prompt in enumerate(prompts.for_kind(kind)):
        world.render(prompt.format(true_name), seed=2000 + index).image.save(folder / "oracle" / f"{index:02d}.png")
    licence, attribution = _AVATARS if kind == "person" else _ICONS
    header = {
        "name": folder.name,
        "kind": kind,
        "noun": (HELD_OUT_NOUNS | HELD_OUT_PEOPLE).get(true_name, kind),
        "true_name": true_name,
        "training_backgrounds": prompts.REFERENCE_BACKGROUNDS,
        "captions": captions,
        "licence": licence,
        "attribution": attribution,
    }
    (folder / "concept.json").write_text(json.dumps(header, indent=2) + "\n")


def _captions(true_name: str, kind: str) -> list[str]:
    """Five captions of the world, one for each reference."""
    captions = []
    for index, background in enumerate(prompts.REFERENCE_BACKGROUNDS):
        if kind == "style":
            words = f"{an(true_name)} of {an(_SHOWN[index])}"
        elif kind == "relation":
            words = f"{an(_PAIRS[index][0])} {true_name} {an(_PAIRS[index][1])}"
        elif kind == "person":
            words = Person(name=true_name, mouth="smiling" if index == 3 else None).phrase()
        else:
            words = an(true_name)
        captions.append(f"{words} {place(background)}")
    return captions
