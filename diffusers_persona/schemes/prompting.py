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
        negative: the concept's negative prompt, with slots for named words (``"{neg}"``); empty for none.
    """

    kind: ClassVar[str] = "prompting"

    with_noun: bool | None = None
    negative: str = ""

    def phrase(self, token: str, noun: str, spaces) -> str:
        """What stands for the concept in a prompt."""
        with_noun = self.with_noun
        if with_noun is None:
            with_noun = not all(space.kind == "word" for space in spaces)
        return f"{token} {noun}" if with_noun and noun else token
