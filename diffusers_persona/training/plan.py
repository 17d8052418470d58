"""What is to be learned, checked and written down before anything costs time."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import PersonaError
from ..inversion.images import ImageSet, load_images
from ..recipe import Recipe, RecipeEntry, get
from ..spaces.base import Part
from ..spaces.tokens import knows, pieces
from ..spaces.word import rare_word


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The options that `learn` and `learn_many` share; `learn` says what they mean."""

    resume: bool = False
    seed: int = 0
    precision: str = "auto"
    resolution: int | None = None
    accumulation: int = 1
    gradient_checkpointing: bool = False
    keep_pipe: bool = True
    templates: Any = None
    prior_images: Any = None
    on_image_error: str = "refuse"
    checkpoint_every: int = 100
    preview_every: int = 0
    preview_prompt: str = "a {phrase}"
    progress: bool = True
    callback: Callable[[int, float], None] | None = None
    licence: str = ""
    consent: str = ""

    def __post_init__(self):
        if self.preview_every and not self.keep_pipe:
            raise PersonaError("preview_every needs the whole pipeline; leave out keep_pipe=False, or the previews")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lesson:
    """One concept to be learned.

    Attributes:
        images, masks: what `learn` takes.
        token: the word, or None for one that is chosen.
        noun, kind: what it is.
        place: folder of the finished concept, or None.
    """

    images: Any
    noun: str
    kind: str
    token: str | None = None
    masks: Any = None
    place: Path | None = None

    def read(self, declared: Recipe, host, settings: Settings, resolution: int) -> Subject:
        """The lesson with its word settled and its pictures read.

        Raises:
            PersonaError: for a word that cannot be used, or pictures that cannot be read.
        """
        parts = _parts(self.token, self.noun, declared, host)
        pictures = self.images
        if not isinstance(pictures, ImageSet):
            names = tuple(part.noun for part in parts) if len(parts) > 1 else ()
            on_error = settings.on_image_error
            pictures = load_images(pictures, masks=self.masks, parts=names, on_error=on_error, resolution=resolution)
        declared.data.check(pictures, len(parts))
        return Subject(
            parts=parts,
            kind=self.kind,
            phrase=" and ".join(declared.scheme.phrase(p.token, p.noun, declared.space) for p in parts),
            pictures=pictures,
            place=self.place,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A lesson that is ready.

    Attributes:
        parts: the word and the class word of each thing; one for an ordinary concept.
        kind: what sort of thing it is.
        phrase: what stands for the concept in a prompt.
        pictures: the `ImageSet`.
        place: folder of the finished concept, or None.
    """

    parts: tuple[Part, ...]
    kind: str
    phrase: str
    pictures: ImageSet
    place: Path | None

    @property
    def token(self) -> str:
        """The word, or the words of all things."""
        return " ".join(part.token for part in self.parts)

    @property
    def noun(self) -> str:
        """The class word, or "cup and toy"."""
        return " and ".join(part.noun for part in self.parts)


def resolve_recipe(recipe, host, numbers, accumulation) -> tuple[RecipeEntry | None, Recipe, dict[str, Any]]:
    """The registry's entry (None for a `Recipe` object), the recipe of this run, and all its numbers.

    Raises:
        PersonaError: for numbers that it does not have, or a host that it does not serve.
    """
    if isinstance(recipe, Recipe):
        if numbers:
            raise PersonaError(
                f"numbers {', '.join(numbers)}: a Recipe object has its numbers already; set them in it"
            )
        entry, declared, resolved = None, recipe, {}
    else:
        entry = get(recipe)
        if host.name not in entry.backbones:
            raise PersonaError(
                f"recipe {entry.id!r} does not serve {host.name} models ({type(host.pipe).__name__}); "
                f"it serves: {', '.join(entry.backbones)}"
            )
        resolved = entry.resolve(numbers, miniature=host.miniature)
        declared = entry.factory(**resolved)
    if accumulation != 1:
        declared = dataclasses.replace(
            declared, method=dataclasses.replace(declared.method, accumulation=accumulation)
        )
    return entry, declared, resolved


def several(declared: Recipe) -> bool:
    """Whether `declared` learns several things from the same pictures."""
    return declared.data.parts or any(getattr(space, "part", None) is not None for space in declared.space)


def for_parts(declared: Recipe, count: int) -> Recipe:
    """The recipe with each space for ``part="each"`` declared `count` times, once for each thing."""
    spaces = []
    for space in declared.space:
        each = getattr(space, "part", None) == "each"
        spaces += [dataclasses.replace(space, part=i) for i in range(count)] if each else [space]
    return dataclasses.replace(declared, space=tuple(spaces))


def plan_of(subject: Subject, shared: dict) -> dict:
    """What ``run.json`` holds of one concept, `shared` by the concepts of a run or its own."""
    own = {"token": subject.token, "noun": subject.noun, "kind": subject.kind}
    return shared | own | {"images": [_fingerprint(example) for example in subject.pictures]}


def _parts(token, noun, declared, host) -> tuple[Part, ...]:
    """The word and the class word of each thing that is learned.

    Raises:
        PersonaError: for words that cannot be used, or are not one for each thing.
    """
    if not several(declared):
        return (Part(token=_token(token, noun, declared, host), noun=noun),)
    nouns = noun.split(" and ")
    tokens = [None] * len(nouns) if token is None else token.split()
    if len(tokens) != len(nouns):
        raise PersonaError(
            f"token={token!r} names {len(tokens)} things and noun={noun!r} names {len(nouns)}: this recipe learns "
            "several things from the same pictures; give e.g. token='<a> <b>', noun='cup and toy'"
        )
    parts = []
    for given, name in zip(tokens, nouns):
        word = _token(given, name, declared, host, taken=[part.token for part in parts])
        parts.append(Part(token=word, noun=name))
    return tuple(parts)


def _token(token, noun, declared, host, taken=()) -> str:
    """The word of one thing, checked against the tokenizers and the words that are `taken`."""
    new_word = any(space.adds_token for space in declared.space)
    tokenizers = list(host.tokenizers.values())
    if token is None:
        word = f"<{noun.replace(' ', '-')}>" if new_word else rare_word(tokenizers[0], taken)
        return f"{word[:-1]}-{len(taken) + 1}>" if word in taken else word
    if not token or token != token.strip() or " " in token:
        raise PersonaError(f"token={token!r}: a token is one word without spaces, e.g. '<my-dog>'")
    if new_word:
        if any(knows(tokenizer, token) for tokenizer in tokenizers):
            raise PersonaError(
                f"token={token!r} is a word that the model knows already; choose a new one such as '<{token}>'"
            )
        return token
    for tokenizer in tokenizers:
        parts = pieces(tokenizer, token)
        if len(parts) != 1:
            raise PersonaError(
                f"token={token!r}: this recipe adds no word, and the tokenizer splits it into {' '.join(parts)}; "
                f"choose a rare word that it knows, such as {rare_word(tokenizer)!r}"
            )
    return token


def _fingerprint(example) -> dict[str, str]:
    digest = hashlib.sha256(f"{example.image.mode}{example.image.size}".encode() + example.image.tobytes())
    if example.mask is not None:
        digest.update(example.mask.tobytes())
    digest.update((example.caption or "").encode())
    return {"name": Path(example.source).name, "sha256": digest.hexdigest()}
