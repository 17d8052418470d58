"""Prompts in ordinary words."""

from __future__ import annotations

import re


def in_plain_words(prompt: str, subject) -> str:
    """`prompt` with the class word in the place of each learned word: "a photo of a <toy>" -> "a photo of a cup".

    Where the class word follows the learned one ("sks dog"), it stands there once.
    """
    from ..spaces.base import Part

    for part in subject.parts or (Part(token=subject.token, noun=subject.noun),):
        both = rf"(?<!\w){re.escape(part.token)}(?: {re.escape(part.noun)})?(?!\w)"
        prompt = re.sub(both, lambda found, noun=part.noun: noun, prompt)
    return prompt
