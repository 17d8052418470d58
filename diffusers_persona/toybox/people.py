"""Faces of the miniature world: named people and anonymous ones, as options of DiceBear's "personas" avatars."""

import random
from collections.abc import Iterator

from .vocabulary import HELD_OUT_PEOPLE, PEOPLE

CAPTIONED_FACES = 800
"""Anonymous identities that captions of training use; the further ones only teach the face encoder."""
ANONYMOUS_FACES = 1600

_HAIR = {
    "woman": ("long", "bobCut", "pigtails", "curlyBun", "bobBangs", "straightBun", "extraLong"),
    "man": ("shortCombover", "curlyHighTop", "buzzcut", "balding", "bald", "fade", "shortComboverChops", "mohawk",
            "sideShave", "curly"),
}  # fmt: skip
_HAIR_COLOURS = {"black": "2b2433", "brown": "6c4430", "blond": "e8c25a", "red": "c8402a", "gray": "b9bcc6"}
_DYED = {"blue": "3a62e0", "green": "35a84a", "pink": "f56fb0", "purple": "8a45c9"}
_SKIN = ("f6c9b0", "eeb4a4", "e5a07e", "d78774", "b16a5b", "92594b", "623d36")
_CLOTHES = ("456dff", "54d7c7", "7555ca", "6dbb58", "e24553", "f3b63a", "f55d81", "3b3f4a", "f0f0f0")
_BODIES = ("squared", "rounded", "small", "checkered")
_NOSES = ("mediumRound", "smallRound", "wrinkles")
_BEARDS = ("beardMustache", "pyramid", "walrus", "goatee")
_MOUTHS = {None: "smirk", "smiling": "bigSmile", "surprised": "surprise"}
_EYES = {None: "open", "glasses": "glasses", "sunglasses": "sunglasses"}
_PLAIN = {"mouth": None, "eyes": None, "hat": None, "hair": None}


def faces(seed: int = 12345) -> Iterator[dict]:
    """Every face to draw, as dicts of labels (identity, name, word, hair, beard, mouth, eyes, hat) and "options".

    A variant label of None is the identity's plain look; "hair" is the shown colour (None: bald or under a hat).
    """
    rng = random.Random(seed)
    seen: set[tuple] = set()
    for identity, (name, word) in enumerate((PEOPLE | HELD_OUT_PEOPLE).items()):
        person = _identity(rng, word, seen)
        for variant in _named_variants(person):
            yield _face(identity, name, person, variant)
    for identity in range(1000, 1000 + ANONYMOUS_FACES):
        person = _identity(rng, rng.choice(("woman", "man")), None)
        for variant in _anonymous_variants(rng):
            yield _face(identity, None, person, variant)


def _identity(rng: random.Random, word: str, seen: set[tuple] | None) -> dict:
    """A random look; with `seen`, one whose hair, skin and beard nobody of `seen` shares."""
    while True:
        person = {
            "word": word,
            "cut": rng.choice(_HAIR[word]),
            "colour": rng.choice(list(_HAIR_COLOURS)),
            "skin": rng.choice(_SKIN),
            "clothes": rng.choice(_CLOTHES),
            "body": rng.choice(_BODIES),
            "nose": rng.choice(_NOSES),
            "beard": rng.choice(_BEARDS) if word == "man" and rng.random() < 0.45 else None,
        }
        key = tuple(person[part] for part in ("cut", "colour", "beard")) + (_SKIN.index(person["skin"]) // 2,)
        if seen is None or key not in seen:
            if seen is not None:
                seen.add(key)
            return person


def _named_variants(person: dict) -> Iterator[dict]:
    for mouth in _MOUTHS:
        for eyes in _EYES:
            yield _PLAIN | {"mouth": mouth, "eyes": eyes}
    for hat in ("cap", "beanie"):
        for mouth in (None, "smiling"):
            yield _PLAIN | {"mouth": mouth, "hat": hat}
    if person["cut"] != "bald":
        yield from (_PLAIN | {"hair": colour} for colour in ("red", *_DYED) if colour != person["colour"])


def _anonymous_variants(rng: random.Random) -> Iterator[dict]:
    """Four looks: plain, a mouth, eyewear, and a hat or both others."""
    yield _PLAIN
    yield _PLAIN | {"mouth": rng.choice(("smiling", "surprised"))}
    yield _PLAIN | {"eyes": rng.choice(("glasses", "sunglasses"))}
    last = {"hat": rng.choice(("cap", "beanie"))} if rng.random() < 0.6 else {"eyes": "glasses"}
    yield _PLAIN | {"mouth": "smiling"} | last


def _face(identity: int, name: str | None, person: dict, variant: dict) -> dict:
    colour = variant["hair"] or person["colour"]
    hat_colour = _CLOTHES[identity % len(_CLOTHES)]
    options = {
        "hair": [variant["hat"] or person["cut"]],
        "hairColor": [hat_colour if variant["hat"] else (_HAIR_COLOURS | _DYED)[colour]],
        "skinColor": [person["skin"]],
        "clothingColor": [person["clothes"]],
        "body": [person["body"]],
        "nose": [person["nose"]],
        "mouth": [_MOUTHS[variant["mouth"]]],
        "eyes": [_EYES[variant["eyes"]]],
        "facialHair": [person["beard"] or "shadow"],
        "facialHairProbability": 100 if person["beard"] else 0,
    }
    visible = None if variant["hat"] or person["cut"] == "bald" else colour
    labels = {"identity": identity, "name": name, "word": person["word"], "beard": bool(person["beard"])}
    return labels | variant | {"hair": visible, "dyed": bool(variant["hair"]), "options": options}
