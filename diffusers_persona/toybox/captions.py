"""The caption grammar: a `Description` of a picture to words, and back.

[a <style> of] (<thing> | <person>) [<relation> <thing>] [<place>] [in the style of <style>]
thing  = a [small|big] [<colour>] <noun or class word>
person = (<First Last> | a woman|man|person) [smiling|surprised] [with <colour> hair] [with a beard]
         [wearing glasses|sunglasses] [wearing a cap|beanie]
"""

import random
import re
from dataclasses import dataclass, replace

from diffusers_persona.errors import PersonaError

from . import vocabulary as v
from .vocabulary import an


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object. `noun` may be a class word such as "animal"."""

    noun: str
    colour: str | None = None
    size: str | None = None

    def phrase(self) -> str:
        return an(" ".join(word for word in (self.size, self.colour, self.noun) if word))


@dataclass(frozen=True, kw_only=True)
class Person:
    """A named person, or with `name` "woman", "man" or "person" anybody who fits."""

    name: str
    mouth: str | None = None
    hair: str | None = None
    beard: bool = False
    eyes: str | None = None
    hat: str | None = None

    def phrase(self) -> str:
        words = [an(self.name) if self.name in v.PERSON_WORDS else self.name]
        words += [self.mouth] if self.mouth else []
        words += [f"with {self.hair} hair"] if self.hair else []
        words += ["with a beard"] if self.beard else []
        words += [f"wearing {self.eyes}"] if self.eyes else []
        words += [f"wearing a {self.hat}"] if self.hat else []
        return " ".join(words)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a picture shows."""

    subject: Thing | Person
    relation: str | None = None
    second: Thing | None = None
    background: str | None = None
    style: str | None = None

    def caption(self, *, medium: str | None = None, style_last: bool = False) -> str:
        """The caption; `medium` is an empty prefix such as "photo", `style_last` names the style at the end."""
        words = [self.subject.phrase()]
        words += [self.relation, self.second.phrase()] if self.second else []
        words += [v.place(self.background)] if self.background else []
        prefix = self.style if self.style and not style_last else medium
        words = [an(prefix), "of", *words] if prefix else words
        words += ["in the style of", self.style] if self.style and style_last else []
        return " ".join(words)


def parse(caption: str) -> Description:
    """The description a caption of the grammar stands for; PersonaError names what could not be read."""
    text = " ".join(caption.lower().replace(",", " ").split()).rstrip(".")
    style, text = _take_style(text)
    background, text = _take_background(text)
    relation, second = None, None
    for word in sorted((*v.RELATIONS, *v.HELD_OUT_RELATIONS, *v.UNSEEN_RELATIONS), key=len, reverse=True):
        head, found, tail = text.partition(f" {word} ")
        if found:
            relation, text, second = word, head, _thing(tail, caption)
            break
    subject = _person(text, caption) or _thing(text, caption)
    return Description(subject=subject, relation=relation, second=second, background=background, style=style)


_ADJECTIVES = "good cropped close-up bright dark clean dirty cool weird nice small large blurry bad new".split()
_MEDIA = ("photo", "photo", "photo", "picture", "image", "rendition", "rendering", "depiction", "portrait", "drawing")


def with_empty_words(caption: str, rng: random.Random, share: float = 0.2) -> str:
    """Now and then put words around a plain caption that change nothing, as prompt templates do.

    "a cat in the snow" -> "a cropped photo of the cat in the snow"; styled captions stay as they are.
    """
    if rng.random() > share or parse(caption).style:
        return caption
    words = re.sub(r"^an? (photo|picture) of ", "", caption)
    if rng.random() < 0.3:
        words = re.sub(r"^an? ", rng.choice(("the ", "the ", "my ", "one ")), words)
    prefix = f"{rng.choice(_ADJECTIVES)} {rng.choice(_MEDIA)}" if rng.random() < 0.6 else rng.choice(_MEDIA)
    return f"{an(prefix)} of {words}"


def _take_style(text: str) -> tuple[str | None, str]:
    styles = "|".join((*v.STYLES, *v.HELD_OUT_STYLES, *v.UNSEEN_STYLES, "photo", "picture", "image"))
    match = re.fullmatch(rf"(?:an? )?({styles}) of (.*)", text)
    style, text = (match[1], match[2]) if match else (None, text)
    style = None if style in ("photo", "picture", "image") else style
    last = re.fullmatch(rf"(.*) in the style of (?:an? )?({styles})", text)
    return (last[2], last[1]) if last else (style, text)


def _take_background(text: str) -> tuple[str | None, str]:
    for background in (*v.SCENES, *v.COLOURS):
        phrase = " " + v.place(background)
        if text.endswith(phrase):
            return background, text.removesuffix(phrase)
    return None, text


def _thing(text: str, caption: str) -> Thing:
    words = re.sub(r"^(an?|the) ", "", text).split()
    size = words.pop(0) if words and words[0] in v.SIZES else None
    colour = words.pop(0) if words and words[0] in v.COLOURS else None
    if len(words) != 1 or words[0] not in (*v.NOUNS, *v.HELD_OUT_NOUNS, *v.CLASS_WORDS):
        raise PersonaError(
            f"caption {caption!r}: cannot read {text!r}; say '[small|big] [colour] noun' with a noun of "
            "toybox.world.NOUNS or HELD_OUT_NOUNS"
        )
    return Thing(noun=words[0], colour=colour, size=size)


def _person(text: str, caption: str) -> Person | None:
    names = {name.lower(): name for name in (*v.PEOPLE, *v.HELD_OUT_PEOPLE)} | {word: word for word in v.PERSON_WORDS}
    match = re.match(rf"(?:an? )?(?:({'|'.join(v.MOUTHS)}) )?({'|'.join(names)})\b ?(.*)$", text)
    if not match:
        return None
    person = Person(name=names[match[2]], mouth=match[1])
    rest = match[3]
    patterns = {
        "mouth": rf"({'|'.join(v.MOUTHS)})",
        "hair": rf"with ({'|'.join(v.HAIR_COLOURS)}) hair",
        "beard": r"with a (beard)",
        "eyes": rf"wearing ({'|'.join(v.EYES)})",
        "hat": rf"wearing a ({'|'.join(v.HATS)})",
    }
    while rest:
        rest = rest.removeprefix("and ")
        for field, pattern in patterns.items():
            found = re.match(pattern + r"\b ?", rest)
            if found:
                person = replace(person, **{field: field == "beard" or found[1]})
                rest = rest[found.end() :]
                break
        else:
            raise PersonaError(f"caption {caption!r}: cannot read {rest!r} after {person.name!r}")
    return person
