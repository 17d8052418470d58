"""Picture sets that the instruments learn from and are measured on: rendered once into a folder, then memory-mapped.

images.npy [N, 64, 64, 3] uint8     masks.npy [N, 64, 64] uint8, 0 or 255     labels.json, a list of N dicts
"""

import json
import os
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..scenes import SIZE, background
from ..styles import apply_style
from ..vocabulary import COLOURS, HELD_OUT_NOUNS, HELD_OUT_PEOPLE, NOUNS, PEOPLE, SCENES, STYLES
from ..world import World, recolour
from .geometry import align_face, foreground

CHUNK = 1000
_HEAD_ROWS = 44  # of a 64x64 face; clothes begin below
HELD_OUT_SHARE = 0.4
"""Share of held-out subjects in what the attribute network learns from: it only judges, so it may know them."""


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """Rendered pictures with their masks and labels."""

    images: np.ndarray
    masks: np.ndarray
    labels: list[dict]

    @classmethod
    def open(cls, folder: Path) -> "PictureSet":
        """The set in `folder`, its arrays memory-mapped."""
        images, masks = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "masks"))
        return cls(images=images, masks=masks, labels=json.loads((folder / "labels.json").read_text()))

    def __len__(self) -> int:
        return len(self.labels)


Draw = Callable[[World, random.Random, int], tuple[Image.Image, Image.Image, dict]]
"""(world, random numbers of the picture, its index) -> image, mask, labels."""


def render_set(folder: Path, draw: Draw, count: int, *, art: Path, seed: int, workers: int = 2) -> PictureSet:
    """Draw `count` pictures into `folder` (kept if complete); picture i depends on `seed` and i alone."""
    if not (folder / "labels.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, SIZE, SIZE, 3))
        masks = np.lib.format.open_memmap(folder / "masks.npy", "w+", np.uint8, (count, SIZE, SIZE))
        labels: list[dict] = []
        starts = range(0, count, CHUNK)
        render = partial(_render_chunk, draw, count, art, seed)
        with ProcessPoolExecutor(workers) as pool:
            for start, (drawn, covered, described) in zip(starts, pool.map(render, starts), strict=True):
                images[start : start + len(drawn)], masks[start : start + len(drawn)] = drawn, covered
                labels += described
        images.flush(), masks.flush()
        (folder / "labels.json.tmp").write_text(json.dumps(labels))
        os.replace(folder / "labels.json.tmp", folder / "labels.json")
    return PictureSet.open(folder)


def _render_chunk(draw: Draw, count: int, art: Path, seed: int, start: int):
    world = World.open(art)
    drawn = [draw(world, random.Random(f"{seed}/{index}"), index) for index in range(start, min(start + CHUNK, count))]
    images, masks, labels = zip(*drawn, strict=True)
    return np.stack([np.asarray(image) for image in images]), np.stack([np.asarray(mask) for mask in masks]), labels


def draw_sample(world: World, rng: random.Random, index: int, *, held_out_share: float = HELD_OUT_SHARE):
    """A picture of the world's mix; further labels: its "caption", and whether it is of "held_out" things."""
    held_out = rng.random() < held_out_share
    picture = world.sample(rng, held_out=held_out)
    return picture.image, picture.mask, picture.labels | {"caption": picture.caption, "held_out": held_out}


@lru_cache(maxsize=2)
def instance_classes(world: World, seed: int = 0) -> list[tuple]:
    """What the DINO encoder learns to tell apart; nothing held out is among it.

    ("icon", name, colour or None) of training nouns and distractors, many also recoloured, and ("face", identity).
    """
    rng = random.Random(seed)
    icons = [*NOUNS, *world.art.distractors]
    classes = [("icon", name, None) for name in icons]
    classes += [("icon", name, colour) for name in icons for colour in rng.sample(list(COLOURS), 1)]
    anonymous = sorted({label["identity"] for label in world.art.face_labels if not label["name"]})
    named = sorted({label["identity"] for label in world.art.face_labels if label["name"] in PEOPLE})
    return classes + [("face", identity) for identity in named + rng.sample(anonymous, 600)]


@lru_cache(maxsize=2)
def held_out_classes(world: World) -> list[tuple]:
    """Concepts that the encoders never saw, in the form of `instance_classes`."""
    people = sorted({label["identity"] for label in world.art.face_labels if label["name"] in HELD_OUT_PEOPLE})
    return [("icon", noun, None) for noun in HELD_OUT_NOUNS] + [("face", identity) for identity in people]


def draw_instance(world: World, rng: random.Random, index: int, *, held_out: bool = False):
    """One instance of class `index` modulo the number of classes, on any background, at times in a style."""
    classes = held_out_classes(world) if held_out else instance_classes(world)
    kind, key, *colour = chosen = classes[index % len(classes)]
    place = rng.choice((*SCENES, *COLOURS))
    if kind == "icon":
        sprite = world.art.icon(key)
        sprite = recolour(sprite, colour[0]) if colour[0] else sprite
        picture = world.paste(sprite, place, rng, rng.choice((30, 38, 46, 50, 54, 60)))
        image, mask = picture.image, picture.mask
    else:
        image, mask = _portrait(world, key, place, rng)
    style = rng.choice(STYLES) if rng.random() < 0.15 else None
    labels = {"class": index % len(classes), "key": list(chosen), "background": place, "style": style}
    return apply_style(image, style), mask, labels


def draw_foreground(world: World, rng: random.Random, index: int, *, held_out: bool = False):
    """`draw_instance` reduced to its foreground, cut along a mask that may be a pixel too wide or too narrow."""
    image, mask, labels = draw_instance(world, rng, index, held_out=held_out)
    filters = (
        ImageFilter.MaxFilter(3),
        ImageFilter.MinFilter(3),
        ImageFilter.GaussianBlur(1),
        ImageFilter.ModeFilter(3),
    )
    rough = mask.filter(rng.choice(filters))
    return foreground(image, rough if rough.getbbox() else mask), mask, labels


@lru_cache(maxsize=2)
def face_identities(world: World, held_out: bool = False) -> list[int]:
    """The identities that the face encoder learns, or the held-out people.

    An anonymous one whose plain head is drawn exactly as that of an earlier identity is left out.
    """
    seen, identities = set(), []
    for index, label in enumerate(world.art.face_labels):
        plain = not (label["mouth"] or label["eyes"] or label["hat"] or label["dyed"])
        if plain and (label["name"] in HELD_OUT_PEOPLE) == held_out:
            head = np.array(world.art.faces[index])[:_HEAD_ROWS].tobytes()
            if head not in seen:
                seen.add(head)
                identities.append(label["identity"])
    return identities


def draw_face(world: World, rng: random.Random, index: int, *, held_out: bool = False):
    """A face crop with a margin of 4 pixels (64x64), of identity `index` modulo the number of identities."""
    identities = face_identities(world, held_out)
    identity = identities[index % len(identities)]
    image, mask = _portrait(world, identity, rng.choice((*SCENES, *COLOURS)), rng)
    style = "painting" if rng.random() < 0.05 else "pixel art" if rng.random() < 0.05 else None
    crop = align_face(apply_style(image, style), mask, margin=4)
    return crop, mask, {"class": index % len(identities), "identity": identity, "style": style}


def _portrait(world: World, identity: int, place: str, rng: random.Random) -> tuple[Image.Image, Image.Image]:
    """A face of `identity` in any of its looks, where the world puts people: alone, or smaller and to the left."""
    looks = _looks(world)[identity]
    size, x = (62, 32 + 2 * rng.randint(-1, 1)) if rng.random() < 0.75 else (44, 22 + rng.randint(-1, 1))
    sprite = world.art.face(rng.choice(looks)).resize((size, size), Image.Resampling.LANCZOS)
    canvas, mask = background(place, rng), Image.new("L", (SIZE, SIZE))
    corner = (x - size // 2, SIZE - size)
    canvas.paste(sprite, corner, sprite)
    mask.paste(255, (*corner, corner[0] + size, SIZE), sprite.getchannel("A"))
    return canvas, mask.point(lambda alpha: 255 if alpha > 127 else 0)


@lru_cache(maxsize=2)
def _looks(world: World) -> dict[int, list[int]]:
    """Identity -> its faces; dyed hair left out, since it is a change of the person's look."""
    looks: dict[int, list[int]] = {}
    for index, label in enumerate(world.art.face_labels):
        if not label["dyed"]:
            looks.setdefault(label["identity"], []).append(index)
    return looks
