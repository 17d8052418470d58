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
        token = _token(self.token, self.noun, declared, host)
        pictures = self.images
        if not isinstance(pictures, ImageSet):
            on_error = settings.on_image_error
            pictures = load_images(pictures, masks=self.masks, on_error=on_error, resolution=resolution)
        phrase = declared.scheme.phrase(token, self.noun, declared.space)
        return Subject(token=token, noun=self.noun, kind=self.kind, phrase=phrase, pictures=pictures, place=self.place)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A lesson that is ready.

    Attributes:
        token, noun, kind: the word, the class word, and what sort of thing it is.
        phrase: what stands for the concept in a prompt.
        pictures: the `ImageSet`.
        place: folder of the finished concept, or None.
    """

    token: str
    noun: str
    kind: str
    phrase: str
    pictures: ImageSet
    place: Path | None


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


def plan_of(subject: Subject, shared: dict) -> dict:
    """What ``run.json`` holds of one concept, `shared` by the concepts of a run or its own."""
    own = {"token": subject.token, "noun": subject.noun, "kind": subject.kind}
    return shared | own | {"images": [_fingerprint(example) for example in subject.pictures]}


def _token(token, noun, declared, host) -> str:
    """The concept's word, checked against the tokenizers."""
    new_word = any(space.adds_token for space in declared.space)
    tokenizers = list(host.tokenizers.values())
    if token is None:
        return f"<{noun.replace(' ', '-')}>" if new_word else rare_word(tokenizers[0])
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
