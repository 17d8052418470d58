"""Several formats in one file or folder: the keys are split into parts, each part is loaded, the results are joined.

A1111 and kohya put text embeddings into a LoRA's file, each under ``bundle_emb.<word>.``; diffusers' pivotal tuning
and Custom Diffusion write them into files beside the weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import PersonaError
from .base import Format, Hints, Loaded, LoadReport, load
from .contents import Contents
from .text_embeddings import FORMATS as EMBEDDINGS
from .text_embeddings import load as load_words

PREFIX = "bundle_emb."
_MARKS = (".string_to_param.", ".string_to_token.", ".clip_l", ".clip_g", ".t5", ".emp_params", ".emb_params")


def split(contents: Contents) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Word -> (key of its own file -> key here) of each embedding in the bundle; and the other keys, as they are."""
    words: dict[str, dict[str, str]] = {}
    rest = {}
    for key in contents.infos:
        inner = key.removeprefix(PREFIX)
        cut = max(inner.rfind(mark) for mark in _MARKS) if inner != key else -1
        if inner == key:
            rest[key] = key
        elif cut > 0:
            words.setdefault(inner[:cut], {})[inner[cut + 1 :]] = key
        else:
            word, _, own = inner.partition(".")
            words.setdefault(word, {})[own or "*"] = key
    return words, rest


def load_bundle(contents: Contents, hints: Hints) -> Loaded:
    """The adapter and the words of a bundle as one. A token that is given renames the word of a bundle of one."""
    from .registry import formats

    words, rest = split(contents)
    tokens = hints.tokens
    if tokens and len(tokens) != len(words):
        raise PersonaError(
            f"{contents.path}: the bundle has {len(words)} words ({', '.join(words)}), {len(tokens)} tokens were "
            "given; give one for each, or none"
        )
    parts = []
    for own, names, token in zip(words, words.values(), tokens or words, strict=True):
        part = dataclasses.replace(contents.part(names), extra={})
        if not any(each.recognise(part) for each in EMBEDDINGS):
            raise PersonaError(
                f"{contents.path}: the keys {PREFIX}{own}.* hold no text embedding; the file is damaged"
            )
        parts.append(renamed(load_words(part, dataclasses.replace(hints, token=token)), names))
    if rest:
        _, loaded = load(contents.part(rest), dataclasses.replace(hints, token=None), formats())
        parts.append(loaded)
    return join(parts)


def join(parts: Sequence[Loaded]) -> Loaded:
    """One `Loaded` of several: spaces one after the other, reports added.

    Raises:
        PersonaError: the parts are for base models of different families, or two of them bring the same word.
    """
    spaces: list[Any] = []
    tensors, report = {}, LoadReport()
    for part in parts:
        for key, value in part.tensors.items():
            number, _, name = key.partition(".")
            tensors[f"{int(number) + len(spaces)}.{name}"] = value
        spaces += part.spaces
        report += part.report
    families = sorted({part.family for part in parts if part.family})
    if len(families) > 1:
        raise PersonaError(f"the parts are for different base models ({' and '.join(families)}); load them one by one")
    words = [space.token for space in spaces if space.adds_token and space.token is not None]
    if len(set(words)) < len(words):
        raise PersonaError(f"two of the words {', '.join(map(repr, words))} are the same; load them one by one")
    return Loaded(
        spaces=spaces,
        tensors=tensors,
        report=report,
        token=next((part.token for part in parts if part.token), None),
        noun=next((part.noun for part in parts if part.noun), None),
        family=families[0] if families else None,
        licence=next((part.licence for part in parts if part.licence), None),
    )


def renamed(loaded: Loaded, names: Mapping[str, str]) -> Loaded:
    """The report with the keys as the whole file spells them."""
    report = LoadReport(
        matched=tuple(names.get(key, key) for key in loaded.report.matched),
        unused=tuple(names.get(key, key) for key in loaded.report.unused),
        missing=loaded.report.missing,
    )
    return dataclasses.replace(loaded, report=report)


def _facts(contents: Contents) -> dict[str, Any]:
    from .base import recognise
    from .registry import formats

    words, rest = split(contents)
    part = contents.part(rest)
    found = recognise(part, formats()) if rest else None
    own = found.facts(part) if found is not None and found.facts is not None else {}
    return {"words": ", ".join(words), "adapter": found.title if found else None, **own}


FORMATS = (
    Format(
        kind="bundle",
        title="bundle of an adapter and text embeddings in one file",
        layout="`bundle_emb.<word>.string_to_param.*` or `bundle_emb.<word>.clip_l` / `.clip_g` beside a LoRA's keys",
        recognise=lambda contents: any(key.startswith(PREFIX) for key in contents.infos),
        load=load_bundle,
        facts=_facts,
    ),
)
