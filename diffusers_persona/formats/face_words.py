"""Words of two vectors for a face, as the releases of Celeb Basis, Cross Initialization and StableIdentity store them.

All three are plain words: the two vectors stand at two places of the prompt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError
from . import text_embeddings
from .base import Format, Hints, Loaded, LoadReport
from .contents import Contents
from .text_embeddings import FAMILY_OF_WIDTH, licence, slug, vectors, word_of, write

if TYPE_CHECKING:
    from torch import Tensor

NUMBERED = re.compile(r"(?P<word>.+)_v(?P<number>\d+)")
EMBEDDINGS, COEFFICIENTS, NETWORK = "id_embeddings.", "id_coefficients.", "meta_id_net."


def _words(contents: Contents, hints: Hints, found: dict[str, Tensor], used: set[str]) -> Loaded:
    """`found`: the file's word -> its vectors [n, d]; given tokens take the words' places."""
    from ..spaces import Word

    tokens = list(hints.tokens) or list(found)
    if len(tokens) != len(found) or len(set(tokens)) < len(tokens):
        raise PersonaError(
            f"{contents.path}: {len(found)} words are in the file ({', '.join(found)}), token={hints.token!r}; give "
            "one for each, or none"
        )
    rows = list(found.values())
    return Loaded(
        spaces=[Word(vectors=len(value), token=token) for token, value in zip(tokens, rows)],
        tensors={f"{i}.word.text_encoder.embedding": value for i, value in enumerate(rows)},
        report=LoadReport(
            matched=tuple(key for key in contents.infos if key in used),
            unused=tuple(key for key in contents.infos if key not in used),
        ),
        token=tokens[0],
        family=FAMILY_OF_WIDTH.get(rows[0].shape[-1]),
        licence=licence(contents),
    )


def _pairs(concept) -> list[tuple[str, Tensor]] | None:
    """Word and vectors [2, d] of each; None when some word is no pair, or is for two text encoders."""
    pairs = []
    for i, space in enumerate(concept.spaces):
        rows = {name: t for name, t in concept.tensors_of(i).items() if name.endswith(".embedding")}
        if set(rows) != {"text_encoder.embedding"} or len(rows["text_encoder.embedding"]) != 2:
            return None
        pairs.append((space.token, rows["text_encoder.embedding"]))
    return pairs


# --------------------------------------------------------------------------------------------- a key for each vector


def _numbered(contents: Contents) -> dict[str, list[str]]:
    """Word -> its keys from vector 0 on; empty when a key is no vector of a word, or one is missing."""
    words: dict[str, dict[int, str]] = {}
    for key, info in contents.infos.items():
        match = NUMBERED.fullmatch(key)
        if match is None or len(info.shape) != 1:
            return {}
        words.setdefault(match["word"], {})[int(match["number"])] = key
    whole = all(sorted(keys) == list(range(len(keys))) and len(keys) > 1 for keys in words.values())
    return {word: [keys[n] for n in range(len(keys))] for word, keys in words.items()} if whole else {}


def load_numbered(contents: Contents, hints: Hints) -> Loaded:
    """Each word with all its vectors; one token for each vector makes words of one vector of them."""
    import torch

    words = _numbered(contents)
    if len(hints.tokens) > len(words):
        return text_embeddings.load(contents, hints)
    found = {word: torch.cat([vectors(contents, key) for key in keys]) for word, keys in words.items()}
    return _words(contents, hints, found, set(contents.infos))


def save_numbered(concept, *, suffix: str | None = None, pipe=None) -> dict[str, bytes] | None:
    """``learned_embeds.bin``: ``{"<word>_v0": [d], "<word>_v1": [d]}``."""
    pairs = _pairs(concept)
    if pairs is None:
        return None
    suffix = suffix or ".bin"
    rows = {f"{word}_v{n}": vector.clone() for word, vectors_ in pairs for n, vector in enumerate(vectors_)}
    return {f"learned_embeds{suffix}": write(rows, suffix)}


# ------------------------------------------------------------------------------------------------ a list of identities


def is_identities(contents: Contents) -> bool:
    """Whether the keys are those of Celeb Basis: ``id_embeddings``, ``id_coefficients``, ``meta_id_net``."""
    heads = (EMBEDDINGS, COEFFICIENTS, NETWORK)
    return bool(contents.infos) and all(key.startswith(heads) for key in contents.infos)


def load_identities(contents: Contents, hints: Hints) -> Loaded:
    """Each identity of ``id_embeddings`` as a word of its own.

    Raises:
        PersonaError: the file has no embeddings but coefficients of the release's own basis, or its network.
    """
    keys = [key for key in contents.infos if key.startswith(EMBEDDINGS)]
    if not keys:
        raise PersonaError(
            f"{contents.path}: it holds {contents.infos and next(iter(contents.infos))!r}, coefficients or a network "
            "for the release's own basis of names, whose directions the file does not hold; let the release write "
            "id_embeddings, or learn the face with recipe 'celeb-basis'"
        )
    name = word_of(contents.path)
    names = [name if n == 0 else f"{name[:-1]}-{n + 1}>" for n in range(len(keys))]
    return _words(contents, hints, {n: vectors(contents, key) for n, key in zip(names, keys)}, set(keys))


def save_identities(concept, *, suffix: str | None = None, pipe=None) -> dict[str, bytes] | None:
    """``id_embeddings.pt``: ``{"id_embeddings": [[2, d], ...]}``."""
    pairs = _pairs(concept)
    if pairs is None:
        return None
    return {"id_embeddings.pt": write({"id_embeddings": [rows for _, rows in pairs]}, ".pt")}


# ----------------------------------------------------------------------------------------------------- one bare tensor


def is_bare_pair(contents: Contents) -> bool:
    """Whether the file is one tensor [1, 2, d] and nothing else."""
    shapes = [info.shape for info in contents.infos.values()]
    return text_embeddings.is_bare(contents) and shapes[0][:2] == (1, 2) and len(shapes[0]) == 3


def save_bare_pair(concept, *, suffix: str | None = None, pipe=None) -> dict[str, bytes] | None:
    """A tensor [1, 2, d] for each word, in a file called like it."""
    pairs = _pairs(concept)
    if pairs is None:
        return None
    return {f"{slug(word)}.pt": write(rows[None].clone(), ".pt") for word, rows in pairs}


def _facts(contents: Contents) -> dict[str, Any]:
    shapes = [info.shape for info in contents.infos.values()]
    return {"tensors": len(shapes), "width": shapes[0][-1] if shapes and shapes[0] else None}


_COMMON: dict[str, Any] = {"kind": "textual-inversion", "holds": ("word",)}
FORMATS = (
    Format(
        title="two-word identities (Celeb Basis)",
        layout='`{"id_embeddings": [[2, d], ...]}`; coefficients and `meta_id_net` are named and refused',
        recognise=is_identities,
        load=load_identities,
        save=save_identities,
        writes=("celeb-basis",),
        suffixes=(".pt",),
        facts=_facts,
        **_COMMON,
    ),
    Format(
        title="two-word identity (Cross Initialization)",
        layout="`{<word>_v0: [d], <word>_v1: [d]}`, a key for each vector of a word",
        recognise=lambda contents: bool(_numbered(contents)),
        load=load_numbered,
        save=save_numbered,
        writes=("cross-initialization",),
        suffixes=(".bin", ".safetensors", ".pt"),
        facts=_facts,
        **_COMMON,
    ),
    Format(
        title="two-word identity (StableIdentity)",
        layout="one tensor `[1, 2, d]`; the word is given with `token=`",
        recognise=is_bare_pair,
        load=text_embeddings.load,
        save=save_bare_pair,
        writes=("stable-identity",),
        suffixes=(".pt",),
        facts=text_embeddings.facts,
        **_COMMON,
    ),
)
