"""Prompting: the concept's phrase in any prompt, ordinary sampling with classifier-free guidance."""

from __future__ import annotations

import dataclasses
from typing import ClassVar


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompting:
    """The plainest scheme.

    Attributes:
        with_noun: whether the phrase is "<token> <noun>" ("sks dog") or the token alone; None chooses the token alone
            for concepts that bring a new word initialised from the noun.
        with_token: whether the token stands in the phrase; False for concepts that act on the class word itself.
        further: names of further words that follow the concept's own in its phrase: ``"<toy> <toy-right>"``.
        before: names of further words that stand before it.
        negative: the concept's negative prompt, with slots for named words (``"{neg}"``); empty for none.
    """

    kind: ClassVar[str] = "prompting"

    with_noun: bool | None = None
    with_token: bool = True
    negative: str = ""
    further: tuple[str, ...] = ()
    before: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "further", tuple(self.further))
        object.__setattr__(self, "before", tuple(self.before))

    def phrase(self, token: str, noun: str, spaces) -> str:
        """What stands for the concept in a prompt."""
        from ..spaces.base import named

        if not self.with_token:
            return noun
        word = " ".join([*(named(token, n) for n in self.before), token, *(named(token, n) for n in self.further)])
        with_noun = self.with_noun
        if with_noun is None:
            with_noun = not all(space.kind == "word" for space in spaces)
        return f"{word} {noun}" if with_noun and noun else word
