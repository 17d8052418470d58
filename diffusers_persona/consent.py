"""Whose face is it? A concept of a real person is published only when the publisher says that the person agreed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .errors import PersonaError

STATEMENT = "The publisher states that every person shown agreed to the publication of this concept"
PEOPLE = frozenset(
    "person people human man woman men women boy girl child kid baby toddler teenager lady gentleman guy face "
    "portrait selfie celebrity actor actress singer politician bride groom mother father mom dad son daughter".split()
)


def shows_a_person(header: Mapping[str, Any]) -> bool:
    """Whether a concept's header speaks of a person: by its kind, by ``"real_person"``, or by its noun."""
    words = re.findall(r"[a-z]+", str(header.get("noun") or "").lower())
    return header.get("kind") == "person" or bool(header.get("real_person")) or not PEOPLE.isdisjoint(words)


def with_consent(header: Mapping[str, Any], consent: bool) -> dict[str, Any]:
    """The header to publish: with the publisher's statement where it shows a person, else as it is.

    Args:
        header: the concept's header; it is not changed.
        consent: the publisher states that every person shown agreed to the publication.

    Raises:
        PersonaError: the concept shows a person and `consent` is not given.
    """
    published = dict(header)
    if not shows_a_person(header):
        return published
    if not consent:
        raise PersonaError(
            f"this concept shows a person (kind {header.get('kind')!r}, noun {header.get('noun')!r}): publish it only "
            "if that person agreed, and say so with consent=True (persona push --i-have-consent)"
        )
    return published | {"consent": header.get("consent") or STATEMENT, "consent_to_publish": True}
