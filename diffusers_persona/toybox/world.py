"""The miniature picture world: a deterministic renderer of captioned 64x64 pictures.

>>> world = World.open("build/art")
>>> world.render("a red teapot next to a cat on the beach", seed=0).image
"""

import os
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from . import vocabulary as v
from .art import Art
from .captions import Description, Person, Thing, parse
from .people import CAPTIONED_FACES
from .scenes import SIZE, background
from .styles import apply_style
from .vocabulary import (
    CLASS_WORDS,
    COLOURS,
    HELD_OUT_NOUNS,
    HELD_OUT_PEOPLE,
    HELD_OUT_RELATIONS,
    HELD_OUT_STYLES,
    NOUNS,
    PEOPLE,
    RELATIONS,
    SCENES,
    STYLES,
)

__all__ = [
    "CLASS_WORDS", "COLOURS", "HELD_OUT_NOUNS", "HELD_OUT_PEOPLE", "HELD_OUT_RELATIONS", "HELD_OUT_STYLES", "NOUNS",
    "PEOPLE", "RELATIONS", "SCENES", "STYLES", "Description", "Person", "Picture", "Thing", "World", "parse",
]  # fmt: skip

_SIZES = (46, 50, 54)
_NAMED_SIZES = {"small": (26,), "big": (60,)}
_PERSON_SIZE, _PERSON_BESIDE_SIZE = 62, 44


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A rendered picture: RGB `image` and L `mask` (255 where the subjects are), both 64x64, caption and labels.

    `part_masks`: what is seen of each thing, in the order of the caption.

    `labels`: noun, second_noun, relation, colour (of the first object), size, background, style, person (name of a
    named one), word (woman or man), hair, mouth, eyes, hat, beard, identity (number of the face) - None where absent.
    """

    image: Image.Image
    mask: Image.Image
    caption: str
    labels: dict
    part_masks: tuple[Image.Image, ...] = ()


class World:
    """Draws pictures from the art; every picture is a function of its description (or caption) and seed."""

    def __init__(self, art: Art):
        self.art = art
        self._faces_of: dict[str, list[int]] = {}
        self._anonymous: list[int] = []
        for index, label in enumerate(art.face_labels):
            if label["name"]:
                self._faces_of.setdefault(label["name"], []).append(index)
            elif label["identity"] < 1000 + CAPTIONED_FACES:
                self._anonymous.append(index)
        self._sprite = lru_cache(maxsize=20000)(self._draw_sprite)

    @classmethod
    def open(cls, art_dir: str | Path) -> "World":
        """The world of the art in `art_dir`, as `toybox.build --stage art` wrote it."""
        return cls(Art.open(art_dir))

    def render(self, caption: str, seed: int = 0) -> Picture:
        """The picture of a caption of the grammar, held-out names included; the same for the same seed."""
        return replace(self.draw(parse(caption), random.Random(seed)), caption=caption)

    def sample(self, rng: random.Random, held_out: bool = False) -> Picture:
        """A random picture of the training mix; with `held_out`, of nouns, people, styles that training never sees."""
        description = sample_description(rng, held_out=held_out)
        picture = self.draw(description, rng)
        medium = rng.choice(("photo", "photo", "picture")) if not description.style and rng.random() < 0.4 else None
        style_last = rng.random() < 0.25
        spoken = description
        if isinstance(spoken.subject, Thing) and rng.random() < 0.08:
            spoken = replace(spoken, subject=replace(spoken.subject, noun=_class_word(spoken.subject.noun)))
        if rng.random() < 0.08:
            spoken = replace(spoken, background=None)
        return replace(picture, caption=spoken.caption(medium=medium, style_last=style_last))

    def draw(self, description: Description, rng: random.Random) -> Picture:
        """The picture of a description; choices it leaves open (background, face, positions) come from `rng`."""
        if description.background is None:
            description = replace(description, background=rng.choice((*SCENES, *COLOURS)))
        canvas = background(description.background, rng)
        mask = Image.new("L", (SIZE, SIZE))
        labels = dict.fromkeys(
            ("noun", "second_noun", "relation", "colour", "size", "person", "word", "hair", "mouth", "eyes", "hat",
             "beard", "identity")
        )  # fmt: skip
        labels |= {"background": description.background, "style": description.style}
        subject = self._resolve(description.subject, rng, labels)
        second = None
        if description.second:
            noun = self._noun(description.second.noun, rng)
            labels |= {"second_noun": noun, "relation": description.relation}
            second = (noun, description.second.colour)
        layout = _layout(description, rng)
        shapes = {who: Image.new("L", (SIZE, SIZE)) for who in layout}
        for who, (size, x, y) in sorted(layout.items(), key=lambda item: item[0] != _back_one(description)):
            sprite = self._sprite(subject if who == "subject" else second, size)
            corner = (round(x - size / 2), round(y - size / 2))
            canvas.paste(sprite, corner, sprite)
            box = (*corner, corner[0] + size, corner[1] + size)
            mask.paste(255, box, sprite.getchannel("A"))
            for other, shape in shapes.items():
                shape.paste(255 if other == who else 0, box, sprite.getchannel("A"))
        return Picture(
            image=apply_style(canvas, description.style),
            mask=mask.point(_solid),
            part_masks=tuple(shape.point(_solid) for shape in shapes.values()),
            caption=description.caption(),
            labels=labels,
        )

    def paste(self, sprite: Image.Image, background_name: str, rng: random.Random, size: int | None = None) -> Picture:
        """Any RGBA sprite (a distractor icon, a face) as the one subject of a picture, without labels of its own."""
        canvas, mask = background(background_name, rng), Image.new("L", (SIZE, SIZE))
        size = size or rng.choice(_SIZES)
        sprite = sprite.resize((size, size), Image.Resampling.LANCZOS)
        x, y = _jittered(rng, size)
        corner = (round(x - size / 2), round(y - size / 2))
        canvas.paste(sprite, corner, sprite)
        mask.paste(255, (*corner, corner[0] + size, corner[1] + size), sprite.getchannel("A"))
        return Picture(image=canvas, mask=mask, caption="", labels={"background": background_name})

    def _resolve(self, subject: Thing | Person, rng: random.Random, labels: dict):
        """The key of the sprite to draw, and its labels."""
        if isinstance(subject, Thing):
            noun = self._noun(subject.noun, rng)
            labels |= {"noun": noun, "colour": subject.colour, "size": subject.size}
            return noun, subject.colour
        index = self._face(subject, rng)
        face = self.art.face_labels[index]
        labels |= {key: face[key] for key in ("word", "hair", "mouth", "eyes", "hat", "beard", "identity")}
        labels["person"] = face["name"]
        return index

    def _noun(self, noun: str, rng: random.Random) -> str:
        return rng.choice([name for name, kind in NOUNS.items() if kind == noun]) if noun in CLASS_WORDS else noun

    def _face(self, person: Person, rng: random.Random) -> int:
        """A face that fits `person`: what is asked for decides first, plain looks fill in the rest."""
        named = person.name in self._faces_of
        wanted = {key: value for key, value in asdict(person).items() if key != "name"}
        if named:
            wanted |= {"hair": person.hair} if person.hair else {}
            wanted.pop("beard")

        def distance(index: int) -> int:
            label = self.art.face_labels[index]
            miss = sum(label[key] != value for key, value in wanted.items() if key in ("mouth", "eyes", "hat"))
            if wanted.get("hair"):
                miss += 2 * (label["hair"] != wanted["hair"])
            else:
                miss += 4 * label["dyed"]
            if wanted.get("beard"):
                miss += 2 * (not label["beard"])
            return miss + 9 * (person.name in ("woman", "man") and label["word"] != person.name)

        pool = self._faces_of[person.name] if named else self._anonymous
        best = {index: distance(index) for index in pool}
        least = min(best.values())
        return rng.choice([index for index, miss in best.items() if miss == least])

    def _draw_sprite(self, key, size: int) -> Image.Image:
        if isinstance(key, int):
            image = self.art.face(key)
        else:
            noun, colour = key
            image = self.art.icon(noun)
            image = recolour(image, colour) if colour else image
        return image.resize((size, size), Image.Resampling.LANCZOS)


def _solid(alpha: int) -> int:
    return 255 if alpha > 127 else 0


def render(caption: str, seed: int = 0) -> Image.Image:
    """The world's own picture of `caption`, from the art in the build folder (see `build_folder`)."""
    return _world(build_folder() / "art").render(caption, seed).image


def build_folder() -> Path:
    """Where `toybox.build` works unless told otherwise: $PERSONA_TOYBOX_WORK or ~/.cache/diffusers_persona/toybox."""
    return Path(os.environ.get("PERSONA_TOYBOX_WORK", "~/.cache/diffusers_persona/toybox")).expanduser()


@lru_cache(maxsize=2)
def _world(art_dir: Path) -> World:
    return World.open(art_dir)


def recolour(image: Image.Image, colour: str) -> Image.Image:
    """An RGBA sprite in shades of one of COLOURS, its own lights and darks kept."""
    pixels = np.asarray(image, np.float32) / 255
    light = pixels[..., :3] @ np.array([0.3, 0.59, 0.11], np.float32)
    low, high = np.percentile(light[pixels[..., 3] > 0.2], (2, 98))
    light = np.clip((light - low) / (high - low + 1e-3), 0, 1)[..., None]
    target = np.array(COLOURS[colour], np.float32) / 255
    if colour == "white":
        shaded = 0.62 + 0.38 * light.repeat(3, axis=-1)
    elif colour == "black":
        shaded = 0.05 + 0.33 * light.repeat(3, axis=-1)
    else:
        dark, bright = target * (0.3 + 0.7 * light / 0.55), target + (1 - target) * (light - 0.55) / 0.45 * 0.75
        shaded = np.where(light < 0.55, dark, bright)
    return Image.fromarray((np.concatenate([shaded, pixels[..., 3:]], -1) * 255).astype(np.uint8))


def sample_description(rng: random.Random, held_out: bool = False) -> Description:
    """A random description of the training mix, or of held-out nouns, people and (every fourth) styles."""
    nouns, names = (HELD_OUT_NOUNS, HELD_OUT_PEOPLE) if held_out else (NOUNS, PEOPLE)
    scene = rng.choice(list(SCENES)) if rng.random() < 0.55 else rng.choice(list(COLOURS))
    style = (
        rng.choice(HELD_OUT_STYLES if held_out and rng.random() < 0.25 else STYLES) if rng.random() < 0.22 else None
    )

    def thing(recoloured: float, sized: float = 0.0) -> Thing:
        colour = rng.choice([c for c in COLOURS if c != scene]) if rng.random() < recoloured else None
        size = rng.choice(v.SIZES) if rng.random() < sized else None
        return Thing(noun=rng.choice(list(nouns)), colour=colour, size=size)

    kind, relation, second = rng.random(), None, None
    if kind < 0.5:
        subject = thing(0.3, 0.1)
    elif kind < 0.7:
        subject, second = thing(0.15), thing(0.15)
        while second.noun == subject.noun:
            second = thing(0.15)
        relation = rng.choice(HELD_OUT_RELATIONS if held_out else (*RELATIONS, "next to"))
    else:
        subject = _sample_person(rng, list(names))
        if kind > 0.95:
            relation, second = "next to", Thing(noun=rng.choice(list(nouns)))
    return Description(subject=subject, relation=relation, second=second, background=scene, style=style)


def _sample_person(rng: random.Random, names: list[str]) -> Person:
    """A named person in a look that all named ones have, or an anonymous one by attributes."""
    mouth = rng.choice((None, None, *v.MOUTHS[:1], *v.MOUTHS))
    eyes = rng.choice((None, None, *v.EYES))
    hat = rng.choice(v.HATS) if rng.random() < 0.15 else None
    if rng.random() < 0.7:
        hair = rng.choice(("red", "blue", "green", "pink", "purple")) if rng.random() < 0.06 else None
        if hair or hat:
            mouth, eyes, hat = None, None, None if hair else hat
        return Person(name=rng.choice(names), mouth=mouth, eyes=eyes, hat=hat, hair=hair)
    word = rng.choice(("woman", "man"))
    hair = rng.choice(v.HAIR_COLOURS[:5]) if rng.random() < 0.6 and not hat else None
    beard = word == "man" and rng.random() < 0.3
    if hat or (mouth and eyes):
        mouth, eyes = rng.choice(((mouth, None), (None, eyes))) if not hat else ("smiling", None)
    return Person(name=word, mouth=mouth, hair=hair, beard=beard, eyes=eyes, hat=hat)


def _class_word(noun: str) -> str:
    return (NOUNS | HELD_OUT_NOUNS)[noun]


def _jittered(rng: random.Random, size: int) -> tuple[float, float]:
    room = (SIZE - size) / 2
    reach = 6 if size < 40 else min(3, room)
    return 32 + rng.uniform(-reach, reach), 33 + rng.uniform(-reach, reach) + (8 if size < 40 else 0)


def _back_one(description: Description) -> str:
    """Which of the two is drawn first, under the other."""
    return "second" if description.relation in ("in front of", "inside", "on top of") else "subject"


def _layout(description: Description, rng: random.Random) -> dict[str, tuple[int, float, float]]:
    """Who -> (size, centre x, centre y), pixels; a layout has a little jitter and no other freedom."""
    dx, dy = rng.randint(-1, 1), rng.randint(-1, 1)
    if isinstance(description.subject, Person):
        if description.second is None:
            return {"subject": (_PERSON_SIZE, 32 + 2 * dx, SIZE - _PERSON_SIZE / 2)}
        return {"subject": (_PERSON_BESIDE_SIZE, 22 + dx, SIZE - _PERSON_BESIDE_SIZE / 2), "second": (26, 50, 47 + dy)}
    if description.second is None:
        size = rng.choice(_NAMED_SIZES.get(description.subject.size, _SIZES))
        return {"subject": (size, *_jittered(rng, size))}
    return _LAYOUTS[description.relation](dx, dy)


_LAYOUTS: dict[str, Callable[[int, int], dict[str, tuple[int, float, float]]]] = {
    "next to": lambda dx, dy: {"subject": (31, 16 + dx, 40 + dy), "second": (31, 48 + dx, 40 + dy)},
    "and": lambda dx, dy: {"subject": (31, 16 + dx, 40 + dy), "second": (31, 48 + dx, 40 + dy)},
    "on top of": lambda dx, dy: {"subject": (31, 32 + dx, 16), "second": (31, 32 + dx, 47)},
    "above": lambda dx, dy: {"subject": (31, 32 + dx, 16), "second": (31, 32 + dx, 47)},
    "under": lambda dx, dy: {"subject": (31, 32 + dx, 47), "second": (31, 32 + dx, 16)},
    "in front of": lambda dx, dy: {"subject": (34, 22 + dx, 46), "second": (40, 42 + dx, 22)},
    "behind": lambda dx, dy: {"subject": (40, 42 + dx, 22), "second": (34, 22 + dx, 46)},
    "right of": lambda dx, dy: {"subject": (31, 48 + dx, 40 + dy), "second": (31, 16 + dx, 40 + dy)},
    "inside": lambda dx, dy: {"subject": (26, 32 + dx, 34 + dy), "second": (60, 32, 33)},
}
