"""The prompts that name a concept while it is learned: one is drawn for each picture at each step.

A template holds ``{phrase}`` (or ``{}``) once, the place of the concept's phrase: ``"<toy>"`` or ``"sks dog"``.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from ..errors import PersonaError
from .templates import (
    CONTEXTS,
    KINDS,
    LIVE_TEMPLATES,
    OBJECT_TEMPLATES,
    PERSON_TEMPLATES,
    STYLE_TEMPLATES,
    TEMPLATES,
)

__all__ = [
    "CONTEXTS",
    "KINDS",
    "LIVE_TEMPLATES",
    "OBJECT_TEMPLATES",
    "PERSON_TEMPLATES",
    "STYLE_TEMPLATES",
    "TEMPLATES",
    "AsWritten",
    "Captions",
    "EachItsOwn",
    "Fixed",
    "Neutral",
    "Shown",
    "Subsets",
    "Things",
    "fill",
    "fill_things",
]

_VOWEL = re.compile(r"(?!uni|use|usu|eu|one)[aeiou]", re.IGNORECASE)  # as it sounds: a unicorn, an umbrella


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
class Shown(Fixed):
    """As `Fixed`; a picture that shows one of several things alone has that thing's phrase."""

    def pick(self, kind, phrase, example=None, generator=None, *, noun=None, templates=None) -> str:
        """The prompt of the picture."""
        things = phrase.split(" and ")
        if example is not None and example.part is not None and example.part < len(things):
            phrase = things[example.part]
        return super().pick(kind, phrase, example, generator, noun=noun, templates=templates)

    def every(self, kind, phrase, examples=(), *, noun=None, templates=None) -> list[str]:
        """Every prompt that `pick` may return."""
        phrases = dict.fromkeys([phrase, *phrase.split(" and ")])
        return [prompt for each in phrases for prompt in super(Shown, self).every(kind, each, templates=templates)]


@dataclass(frozen=True)
class Captions:
    """The caption of each picture, with the phrase in the place of ``{phrase}``, ``{}`` or the class noun.

    Of several things each noun stands in the caption: "a brown cup on a toy" for noun="cup and toy".
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


@dataclass(frozen=True)
class Subsets:
    """The template with some of several things in random order: "a photo of <toy> and <cup>"; any number is as likely.

    Source: Break-A-Scene, arXiv 2305.16311, union sampling.
    """

    template: str = "a photo of {phrase}"

    def __post_init__(self):
        _checked([self.template])

    def pick(self, kind, phrase, example=None, generator=None, *, noun=None, templates=None) -> str:
        """The prompt of one step; where ``templates`` are given, one of them takes the place of the template."""
        import torch

        things = phrase.split(" and ")
        count = 1 + _draw(len(things), generator)
        order = torch.randperm(len(things), generator=generator)[:count]
        return Neutral((self.template,)).pick(
            kind, " and ".join(things[i] for i in order), example, generator, templates=templates
        )

    def every(self, kind, phrase, examples=(), *, noun=None, templates=None) -> list[str]:
        """Every prompt that `pick` may return."""
        things = phrase.split(" and ")
        chosen = [some for n in range(len(things)) for some in itertools.permutations(things, n + 1)]
        return [
            p for some in chosen for p in Fixed(self.template).every(kind, " and ".join(some), templates=templates)
        ]


@dataclass(frozen=True)
class Things:
    """Prompts with a place for each of several things, ``"a {1} of a {0}"``; several templates are taken in turn.

    With two templates the first is for the pictures 0, 2, ... and the second for 1, 3, ...: for pairs of pictures.
    """

    templates: tuple[str, ...] = ("a {0} and a {1}",)

    def __post_init__(self):
        object.__setattr__(self, "templates", tuple(self.templates))

    def pick(self, kind, phrase, example=None, generator=None, *, noun=None, templates=None) -> str:
        """The prompt of the picture's place; where ``templates`` are given, one of them with the whole phrase.

        Raises:
            PersonaError: a template has a place for a thing that the concept does not have.
        """
        if templates is not None:
            return Neutral(tuple(templates)).pick(kind, phrase, example, generator)
        number = 0 if example is None else example.number
        return fill_things(self.templates[number % len(self.templates)], phrase)

    def every(self, kind, phrase, examples=(), *, noun=None, templates=None) -> list[str]:
        """Every prompt that `pick` may return."""
        if templates is not None:
            return Neutral(tuple(templates)).every(kind, phrase)
        return list(dict.fromkeys(fill_things(template, phrase) for template in self.templates))


@dataclass(frozen=True)
class AsWritten(Things):
    """The caption of each picture as it is, with a place for each thing that it names: ``"a {1} of a cat"``.

    Pictures without a caption take `Things`' templates.
    """

    def pick(self, kind, phrase, example=None, generator=None, *, noun=None, templates=None) -> str:
        """The prompt of the picture."""
        if example is not None and example.caption:
            return fill_things(example.caption, phrase)
        return super().pick(kind, phrase, example, generator, noun=noun, templates=templates)

    def every(self, kind, phrase, examples=(), *, noun=None, templates=None) -> list[str]:
        """Every prompt that `pick` may return."""
        return list(dict.fromkeys(self.pick(kind, phrase, each, noun=noun) for each in examples))


def fill_things(template, phrase) -> str:
    """The template with the things of the phrase ("<cup> and <toy>") in the places ``{0}``, ``{1}``, ...

    Raises:
        PersonaError: a place for a thing that the concept does not have.
    """
    things = phrase.split(" and ")
    for i, thing in enumerate(things):
        if f"{{{i}}}" in template:
            template = fill(template.replace(f"{{{i}}}", "{phrase}"), thing)
    if left := re.search(r"\{\d+\}", template):
        raise PersonaError(
            f"prompt {template!r} has a place {left[0]} and the concept only {len(things)} thing(s); give a noun "
            "for each, e.g. noun='cup and style'"
        )
    return template


@dataclass(frozen=True)
class EachItsOwn:
    """Prompts for several things that come with pictures of their own: one of the templates of the picture's thing.

    ``(("a photo of {0}",), ("a photo in {1}", "a photo of {0} in {1}"))``: the second thing's pictures now and then
    stand for both.
    """

    templates: tuple[tuple[str, ...], ...]

    def __post_init__(self):
        object.__setattr__(self, "templates", tuple(tuple(own) for own in self.templates))

    def pick(self, kind, phrase, example=None, generator=None, *, noun=None, templates=None) -> str:
        """A prompt for the picture; where ``templates`` are given, one of them with the whole phrase.

        Raises:
            PersonaError: nothing says which thing the picture shows.
        """
        if templates is not None:
            return Neutral(tuple(templates)).pick(kind, phrase, example, generator)
        if example is None or example.part is None or example.part >= len(self.templates):
            where = "the picture" if example is None else example.source
            raise PersonaError(
                f"{where} is not said to show one of the {len(self.templates)} things that this recipe learns: give "
                "the pictures as a mapping, {class word: pictures}, for a noun such as 'woman and style'"
            )
        own = self.templates[example.part]
        return fill_things(own[_draw(len(own), generator)], phrase)

    def every(self, kind, phrase, examples=(), *, noun=None, templates=None) -> list[str]:
        """Every prompt that `pick` may return."""
        if templates is not None:
            return Neutral(tuple(templates)).every(kind, phrase)
        return list(dict.fromkeys(fill_things(t, phrase) for own in self.templates for t in own))


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
    if noun and " and " in noun:
        return _about_things(caption, phrase.split(" and "), noun.split(" and "), source)
    if noun:
        slotted, found = re.subn(rf"(?<!\w){re.escape(noun)}(?!\w)", "{phrase}", caption, count=1, flags=re.IGNORECASE)
        if found:
            return fill(_plain_article(slotted), phrase)
    wanted = f'"{noun}" nor "{{}}"' if noun else '"{}"'
    raise PersonaError(f"the caption of {source} names {'neither ' if noun else 'no '}{wanted}: add one of them")


def _about_things(caption, phrases, nouns, source) -> str:
    """The caption with each noun's phrase in its place; equal nouns have theirs from left to right."""
    waiting: dict[str, list[str]] = {}
    for noun, phrase in zip(nouns, phrases):
        waiting.setdefault(noun.lower(), []).append(phrase)
    nouns = "|".join(map(re.escape, sorted(waiting, key=len, reverse=True)))
    text, *rest = re.split(rf"(?<!\w)({nouns})(?!\w)", caption, flags=re.IGNORECASE)
    for noun, after in zip(rest[::2], rest[1::2]):
        left = waiting[noun.lower()]
        text = (fill(_plain_article(text + "{phrase}"), left.pop(0)) if left else text + noun) + after
    missing = [noun for noun, left in waiting.items() if left]
    if missing:
        raise PersonaError(f"the caption of {source} does not name {' and '.join(missing)}: add it")
    return text


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
