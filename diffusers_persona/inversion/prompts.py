"""The prompts that name a concept while it is learned: one is drawn for each picture at each step.

A template holds ``{phrase}`` (or ``{}``) once, the place of the concept's phrase: ``"<toy>"`` or ``"sks dog"``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import PersonaError

KINDS = ("object", "live", "person", "style")
_VOWEL = re.compile(r"(?!uni|use|usu|eu|one)[aeiou]", re.IGNORECASE)  # as it sounds: a unicorn, an umbrella

_PHOTO_WORDS = ("", "good ", "cropped ", "close-up ")
_NEUTRAL_PHOTOS = tuple(f"a {word}photo of {article} {{phrase}}" for word in _PHOTO_WORDS for article in ("a", "the"))
_LIGHTS = ("a bright photo of the {phrase}", "a dark photo of the {phrase}")
_RENDITIONS = ("a rendition of a {phrase}", "a rendition of the {phrase}", "a rendering of a {phrase}")

OBJECT_TEMPLATES = (
    *_NEUTRAL_PHOTOS,
    *_LIGHTS,
    *_RENDITIONS,
    "the photo of a {phrase}",
    "a photo of my {phrase}",
    "a photo of one {phrase}",
    *(f"a photo of {words} {{phrase}}" for words in ("a clean", "the clean", "a dirty", "a cool", "the cool")),
    *(f"a photo of {words} {{phrase}}" for words in ("a nice", "the nice", "the weird", "a small", "the small")),
    "a photo of the large {phrase}",
)
"""The 27 neutral templates of Textual Inversion (arXiv 2208.01618) for objects, grouped by wording."""

LIVE_TEMPLATES = (
    *_NEUTRAL_PHOTOS,
    *_LIGHTS,
    *_RENDITIONS,
    "the photo of a {phrase}",
    "a photo of my {phrase}",
    "a photo of one {phrase}",
    "a picture of a {phrase}",
)
"""For animals and plants: the object templates without those that speak of dirt, size or strangeness, which a living
thing may really have. Our own choice."""

PERSON_TEMPLATES = (
    *_NEUTRAL_PHOTOS,
    *_LIGHTS,
    "a picture of a {phrase}",
    "a portrait of a {phrase}",
    "a portrait of the {phrase}",
    "a close-up portrait of a {phrase}",
    "a photo of the face of a {phrase}",
    "a photo of one {phrase}",
)
"""For people: photos and portraits, nothing that judges looks. Our own choice."""

_STYLE_WORDS = ("", "cropped ", "clean ", "dirty ", "dark ", "bright ", "cool ", "close-up ", "good ", "nice ")
STYLE_TEMPLATES = (
    *(f"a {words}painting in the style of {{phrase}}" for words in (*_STYLE_WORDS, "small ", "weird ", "large ")),
    "the painting in the style of {phrase}",
    "a picture in the style of {phrase}",
    "a rendering in the style of {phrase}",
    "a rendition in the style of {phrase}",
)
"""The 17 different style templates of Textual Inversion (arXiv 2208.01618)."""

TEMPLATES = {
    "object": OBJECT_TEMPLATES,
    "live": LIVE_TEMPLATES,
    "person": PERSON_TEMPLATES,
    "style": STYLE_TEMPLATES,
}


@dataclass(frozen=True)
class Neutral:
    """Textual Inversion's prompts: one of the neutral templates of the concept's kind, drawn anew at each step.

    ``templates`` replaces the lists of this module, e.g. ``("a {phrase} of a cat", "a {phrase} of a house")``.
    """

    templates: tuple[str, ...] | None = None

    def __post_init__(self):
        if self.templates is not None:
            object.__setattr__(self, "templates", _checked(self.templates))

    def pick(self, kind, phrase, example=None, generator=None, *, noun=None, templates=None) -> str:
        """A prompt for one step; ``templates`` goes before those of the declaration."""
        choices = self._choices(kind, templates)
        return fill(choices[_draw(len(choices), generator)], phrase)

    def every(self, kind, phrase, examples=(), *, noun=None, templates=None) -> list[str]:
        """Every prompt that `pick` may return, each once, so that their encodings can be cached."""
        return list(dict.fromkeys(fill(template, phrase) for template in self._choices(kind, templates)))

    def _choices(self, kind, templates):
        if templates is not None:
            return _checked(templates)
        return self.templates or TEMPLATES[_known(kind)]


@dataclass(frozen=True)
class Fixed:
    """One prompt for all pictures and steps, as in DreamBooth: ``Fixed("a {phrase}")``."""

    template: str = "a {phrase}"

    def __post_init__(self):
        _checked([self.template])

    def pick(self, kind, phrase, example=None, generator=None, *, noun=None, templates=None) -> str:
        """The prompt; where ``templates`` are given, one of them."""
        if templates is not None:
            return Neutral(tuple(templates)).pick(kind, phrase, example, generator)
        return fill(self.template, phrase)

    def every(self, kind, phrase, examples=(), *, noun=None, templates=None) -> list[str]:
        """Every prompt that `pick` may return."""
        return Neutral((self.template,) if templates is None else tuple(templates)).every(kind, phrase)


@dataclass(frozen=True)
class Captions:
    """The caption of each picture, with the phrase in the place of ``{phrase}``, ``{}`` or the class noun.

    A caption that holds the phrase already is taken as it is. ``template`` serves pictures without a caption; without
    it such a picture is an error.
    """

    template: str | None = None

    def __post_init__(self):
        if self.template is not None:
            _checked([self.template])

    def pick(self, kind, phrase, example=None, generator=None, *, noun=None, templates=None) -> str:
        """The caption of ``example`` about the concept.

        Raises:
            PersonaError: the picture has no caption, or the caption names neither a slot, the phrase nor ``noun``.
        """
        if example is not None and example.caption:
            return _about(example.caption, phrase, noun, example.source)
        if templates is not None or self.template is not None:
            return Fixed(self.template or "{phrase}").pick(kind, phrase, example, generator, templates=templates)
        where = example.source if example is not None else "the picture"
        raise PersonaError(f"{where} has no caption: write one in metadata.jsonl or in a .txt file of its name")

    def every(self, kind, phrase, examples=(), *, noun=None, templates=None) -> list[str]:
        """Every prompt that `pick` may return for ``examples``, each once."""
        prompts = []
        for example in examples:
            if example.caption or templates is None:
                prompts.append(self.pick(kind, phrase, example, noun=noun))
            else:
                prompts += Neutral(tuple(templates)).every(kind, phrase)
        return list(dict.fromkeys(prompts))


def fill(template, phrase) -> str:
    """The template with the phrase in its slot; "a" becomes "an" before a phrase that begins with a vowel."""
    before, after = re.split(r"\{(?:phrase)?\}", template, maxsplit=1)
    if _VOWEL.match(phrase) and re.search(r"\b[aA] $", before):
        before = before[:-1] + "n "
    return before + phrase + after


def _about(caption, phrase, noun, source) -> str:
    if len(re.findall(r"\{(?:phrase)?\}", caption)) == 1:
        return fill(caption, phrase)
    if phrase in caption:
        return caption
    if noun:
        slotted, found = re.subn(rf"(?<!\w){re.escape(noun)}(?!\w)", "{phrase}", caption, count=1, flags=re.IGNORECASE)
        if found:
            return fill(_plain_article(slotted), phrase)
    wanted = f'"{noun}" nor "{{}}"' if noun else '"{}"'
    raise PersonaError(f"the caption of {source} names {'neither ' if noun else 'no '}{wanted}: add one of them")


def _plain_article(template) -> str:
    """ "an {phrase}" belonged to the noun that is gone; `fill` chooses the article of the phrase."""
    return re.sub(r"\b([aA])n \{phrase\}", r"\1 {phrase}", template)


def _checked(templates) -> tuple[str, ...]:
    if isinstance(templates, str) or not templates:
        raise PersonaError(f"templates are a list of texts with {{phrase}}, not {templates!r}")
    for template in templates:
        if not isinstance(template, str) or len(re.findall(r"\{(?:phrase)?\}", template)) != 1:
            raise PersonaError(f"template {template!r} needs {{phrase}} exactly once, where the concept belongs")
    return tuple(templates)


def _known(kind) -> str:
    if kind not in TEMPLATES:
        raise PersonaError(f"kind {kind!r} is unknown: choose one of {', '.join(KINDS)}")
    return kind


def _draw(count, generator) -> int:
    import torch

    device = generator.device if generator is not None else None
    return int(torch.randint(count, (), generator=generator, device=device))
