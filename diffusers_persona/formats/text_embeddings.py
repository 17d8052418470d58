"""Text embeddings (Textual Inversion) in the layouts that people exchange: diffusers, A1111, kohya, SDXL, original.

A file holds one word or several; each becomes a `Word` space of its own, with n vectors [n, d] for each text encoder.
Where a layout does not name its word, the word is the user's (`Hints.token`) or made of the file's name.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import PersonaError
from .base import Format, Hints, Loaded, LoadReport
from .contents import Contents
from .safetensors_header import TensorInfo

ENCODERS = {
    "clip_l": "text_encoder",
    "clip_g": "text_encoder_2",
    "text_encoders_0": "text_encoder",
    "text_encoders_1": "text_encoder_2",
    "t5": "text_encoder_2",
    "t5xxl": "text_encoder_2",
}
NAMELESS = ("emp_params", "emb_params", "*")
NO_WORD = ("weight", "bias", "tensor", "alpha", "mean", "std", "scale", "shift")
FOR_WIDTH = {768: "SD 1.x", 1024: "SD 2.x", 1280: "SDXL, second encoder", 2048: "SDXL", 4096: "FLUX, T5"}
FAMILY_OF_WIDTH = {768: "sd", 1024: "sd"}
PARAM, TOKEN_ID = "string_to_param.", "string_to_token."
GENERAL_NAMES = re.compile(
    r"(learned_embeds?|embeddings?|model|tensor|weights|pytorch_model)([-_.].*)?", re.IGNORECASE
)
LICENCE_KEYS = ("license", "licence", "modelspec.license")
MOST_VECTORS = 4096
LEAST_WIDTH = 16
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One word of a file: its own name, if it has one, and text encoder -> key of the vectors."""

    name: str | None
    keys: Mapping[str, str]


# ------------------------------------------------------------------------------------------------- what is in the file


def is_pair(contents: Contents) -> bool:
    """Whether vectors are named by text encoder (``clip_l``, ``clip_g``): SDXL and FLUX."""
    return _have_vectors(contents, set(contents.infos) & set(ENCODERS))


def is_string_to_param(contents: Contents) -> bool:
    """Whether vectors lie in ``string_to_param``."""
    return any(key.startswith(PARAM) for key in contents.infos)


def is_a1111(contents: Contents) -> bool:
    """``string_to_param`` with the name or the training record that A1111 writes beside it."""
    return is_string_to_param(contents) and any(k in contents.extra for k in ("name", "step", "sd_checkpoint_name"))


def is_nameless(contents: Contents) -> bool:
    """Whether the vectors stand under a name that every such file has (``emp_params``)."""
    return _have_vectors(contents, set(contents.infos) & set(NAMELESS))


def is_bare(contents: Contents) -> bool:
    """Whether the file is one tensor [d] or [n, d] and nothing else."""
    return isinstance(contents.tree, TensorInfo) and _have_vectors(contents, contents.infos)


def is_named(contents: Contents) -> bool:
    """Whether each key is a word and each tensor its vectors, all of one width; numbers may stand beside them."""
    words = _words_of(contents)
    numbers = [key for key, info in contents.infos.items() if key not in words and not info.shape]
    return len(words) + len(numbers) == len(contents.infos) and _have_vectors(contents, words) and _one_width(contents)


def _words_of(contents: Contents) -> list[str]:
    return [key for key, info in contents.infos.items() if _is_word(key) and info.shape]


def _have_vectors(contents: Contents, keys) -> bool:
    infos = [contents.infos[key] for key in keys]
    return bool(infos) and all(_is_matrix(info.shape) and info.dtype in _FLOATS for info in infos)


def _one_width(contents: Contents) -> bool:
    return len({contents.shape(key)[-1] for key in _words_of(contents)}) == 1


def _is_matrix(shape: Sequence[int]) -> bool:
    return 1 <= len(shape) <= 4 and shape[-1] >= LEAST_WIDTH and 1 <= math.prod(shape[:-1]) <= MOST_VECTORS


def _is_word(key: str) -> bool:
    bracketed = key.startswith("<") and key.endswith(">")
    return bracketed or bool(key.strip()) and "." not in key and "/" not in key and key.lower() not in NO_WORD


def _entries(contents: Contents) -> list[Entry]:
    """The file's words, in the order of its keys."""
    if is_string_to_param(contents):
        named = [(key.removeprefix(PARAM), key) for key in contents.infos if key.startswith(PARAM)]
        placeholders = [word for word, _ in named if _is_placeholder(word)]
        own = contents.extra.get("name")
        own = own.strip() if isinstance(own, str) and own.strip() and len(placeholders) == 1 else None
        return [Entry(name=own if word in placeholders else word, keys={"text_encoder": key}) for word, key in named]
    if is_pair(contents):
        own = contents.extra.get("name")
        keys = {ENCODERS[key]: key for key in contents.infos if key in ENCODERS}
        return [Entry(name=own if isinstance(own, str) else None, keys=keys)]
    if is_nameless(contents) or is_bare(contents):
        keys = [key for key in contents.infos if key in NAMELESS or is_bare(contents)]
        return [Entry(name=None, keys={"text_encoder": key}) for key in keys[:1]]
    return [Entry(name=key.strip(), keys={"text_encoder": key}) for key in _words_of(contents)]


def _is_placeholder(word: str) -> bool:
    return len(word) == 1 and not word.isalnum()


# ------------------------------------------------------------------------------------------------------------- loading


def load(contents: Contents, hints: Hints) -> Loaded:
    """Each word of the file as a `Word` space.

    Raises:
        PersonaError: a tensor that is no matrix [n, d] of vectors, or a number of tokens that does not fit.
    """
    from ..spaces import Word

    entries = _entries(contents)
    words = [{encoder: vectors(contents, key) for encoder, key in entry.keys.items()} for entry in entries]
    _check_counts(contents, words)
    names, words = _named(contents, hints, entries, words)
    spaces, tensors = [], {}
    for i, (name, word) in enumerate(zip(names, words)):
        spaces.append(Word(vectors=len(next(iter(word.values()))), token=name))
        tensors |= {f"{i}.word.{encoder}.embedding": value for encoder, value in word.items()}
    used = {key for entry in entries for key in entry.keys.values()}
    matched = tuple(key for key in contents.infos if key in used or key.startswith(TOKEN_ID))
    unused = tuple(key for key in contents.infos if key not in matched)
    return Loaded(
        spaces=spaces,
        tensors=tensors,
        report=LoadReport(matched=matched, unused=unused, missing=_missing(entries)),
        token=names[0],
        family=family(contents, entries),
        licence=licence(contents),
    )


def vectors(contents: Contents, key: str):
    """The vectors [n, d] of a key, float32, whatever way they are stored: [d], [n, d] or [1, n, d].

    Raises:
        PersonaError: naming the key and its shape.
    """
    tensor = contents.tensors[key]
    shape = tuple(tensor.shape)
    if not tensor.is_floating_point() or not _is_matrix(shape) or any(n != 1 for n in shape[:-2]):
        raise PersonaError(
            f"{contents.path}: key {key!r} ({contents.infos[key].dtype}, shape {list(shape)}) is no text embedding; "
            "expected vectors [d], [n, d] or [1, n, d]"
        )
    return tensor.reshape(-1, shape[-1]).float().clone()


def licence(contents: Contents) -> str | None:
    """What the file's metadata state as its licence."""
    return next(
        (contents.metadata[k] for k in ("license", "licence", "modelspec.license") if k in contents.metadata), None
    )


def family(contents: Contents, entries: Sequence[Entry] | None = None) -> str | None:
    """The family of base models that vectors of this kind and width are for, as far as it can be told."""
    entries = _entries(contents) if entries is None else entries
    if is_pair(contents):
        keys = set(contents.infos)
        return "flux" if keys & {"t5", "t5xxl"} else "sdxl" if len(entries[0].keys) == 2 else None
    families = {FAMILY_OF_WIDTH.get(contents.shape(key)[-1]) for entry in entries for key in entry.keys.values()}
    return families.pop() if len(families) == 1 else None


def _missing(entries) -> tuple[str, ...]:
    """An SDXL word without its vectors for the first text encoder can't be used."""
    return tuple("clip_l" for entry in entries if set(entry.keys) == {"text_encoder_2"})


def _check_counts(contents, words) -> None:
    for word in words:
        counts = {encoder: len(value) for encoder, value in word.items()}
        if len(set(counts.values())) > 1:
            given = ", ".join(f"{encoder} {count}" for encoder, count in counts.items())
            raise PersonaError(f"{contents.path}: the text encoders have different numbers of vectors ({given})")


def _named(contents, hints: Hints, entries, words):
    """Tokens and words; n tokens for one word of n vectors make n words of one vector."""
    tokens = [token.strip() for token in hints.tokens]
    if any(not token for token in tokens) or len(set(tokens)) < len(tokens):
        raise PersonaError(f"token={hints.token!r}: give one word for each word of the file, each a different one")
    if len(words) == 1 and len(tokens) > 1 and len(tokens) == len(next(iter(words[0].values()))):
        split = [
            {encoder: value[i : i + 1].clone() for encoder, value in words[0].items()} for i in range(len(tokens))
        ]
        return tokens, split
    if tokens and len(tokens) != len(words):
        names = ", ".join(repr(entry.name) for entry in entries)
        raise PersonaError(
            f"{contents.path}: {len(words)} words are in the file ({names}), {len(tokens)} tokens were given; "
            "give one for each, or none"
        )
    fallback = word_of(contents.path)
    own = [entry.name or (fallback if i == 0 else f"{fallback[:-1]}-{i + 1}>") for i, entry in enumerate(entries)]
    return tokens or own, words


def word_of(path) -> str:
    """A word made of a file's name: ``my cat.pt`` -> ``"<my-cat>"``; ``"<concept>"`` where the name says nothing."""
    name = re.sub(r"[^\w-]+", "-", path.stem).strip("-_")
    return "<concept>" if not name or GENERAL_NAMES.fullmatch(path.stem) else f"<{name}>"


def facts(contents: Contents) -> dict[str, Any]:
    """Words, number of vectors, width, and what base they are for."""
    entries = _entries(contents)
    shapes = [contents.shape(key) for entry in entries for key in entry.keys.values()]
    widths = list(dict.fromkeys(shape[-1] for shape in shapes if shape))
    known = {"sdxl": "SDXL", "flux": "FLUX"}.get(family(contents, entries) or "")
    record = {key: contents.extra.get(key) for key in ("step", "sd_checkpoint_name")}
    counts = list(dict.fromkeys(math.prod(shape[:-1]) for shape in shapes))
    return {
        "token": ", ".join(entry.name or "not in the file" for entry in entries),
        "vectors": counts[0] if len(counts) == 1 else ", ".join(map(str, counts)),
        "width": widths[0] if len(widths) == 1 else ", ".join(map(str, widths)),
        "for": known or ", ".join(FOR_WIDTH.get(width, f"a text encoder of width {width}") for width in widths),
        **{key: value for key, value in record.items() if value is not None},
    }


# -------------------------------------------------------------------------------------------------------------- saving


def _words(concept) -> list[tuple[str, dict]]:
    """Token and text encoder -> vectors of each word of a concept."""
    found = []
    for i, space in enumerate(concept.spaces):
        if space.kind == "word":
            tensors = concept.tensors_of(i)
            values = {k.removesuffix(".embedding"): v for k, v in tensors.items() if k.endswith(".embedding")}
            found.append((space.token, values))
    return found


def slug(token: str) -> str:
    """A token as a file name."""
    return re.sub(r"[^\w-]+", "-", token).strip("-_") or "concept"


def _by_encoder(values: dict) -> dict:
    """``text_encoder`` -> ``clip_l``, ``text_encoder_2`` -> ``clip_g`` or, for vectors of T5's width, ``t5``."""
    wide = "t5" if values["text_encoder_2"].shape[-1] == 4096 else "clip_g"
    names = {"text_encoder": "clip_l", "text_encoder_2": wide}
    return {names[encoder]: value for encoder, value in values.items()}


def save_diffusers(concept, *, suffix: str | None = None, pipe=None) -> dict[str, bytes]:
    """``learned_embeds``: ``{token: [n, d]}``, or ``{"clip_l": ..., "clip_g": ...}``; one file a word."""
    words, files = _words(concept), {}
    for token, values in words:
        content = _by_encoder(values) if "text_encoder_2" in values else {token: values["text_encoder"]}
        name = "learned_embeds" if len(words) == 1 else f"{slug(token)}_learned_embeds"
        files[name + (suffix or ".safetensors")] = write(content, suffix or ".safetensors")
    return files


def save_a1111(concept, *, suffix: str | None = None, pipe=None) -> dict[str, bytes]:
    """A1111's file, called like the word, since there the file's name is the word; one file a word."""
    suffix, files = suffix or ".pt", {}
    for token, values in _words(concept):
        if "text_encoder_2" in values:
            content = _by_encoder(values)
        elif suffix == ".safetensors":
            content = {"emp_params": values["text_encoder"]}
        else:
            content = {
                "string_to_token": {"*": 265},
                "string_to_param": {"*": values["text_encoder"]},
                "name": token,
                "step": (concept.header.get("training") or {}).get("steps") or 0,
                "sd_checkpoint": None,
                "sd_checkpoint_name": None,
            }
        files[slug(token) + suffix] = write(content, suffix)
    return files


def save_original(concept, *, suffix: str | None = None, pipe=None) -> dict[str, bytes] | None:
    """The original release's ``embeddings.pt``: all words in one file, each with the id of its placeholder."""
    import torch

    words = _words(concept)
    if any(set(values) != {"text_encoder"} for _, values in words) or any("." in token for token, _ in words):
        return None
    names = ["*"] if len(words) == 1 else [token for token, _ in words]
    matrices = {name: torch.nn.Parameter(values["text_encoder"]) for name, (_, values) in zip(names, words)}
    content = {
        "string_to_token": {name: torch.tensor(265) for name in names},
        "string_to_param": torch.nn.ParameterDict(matrices),
    }
    return {"embeddings.pt": write(content, ".pt")}


def write(content: dict, suffix: str) -> bytes:
    """The bytes of a file: safetensors, or a PyTorch pickle for any other suffix."""
    if suffix == ".safetensors":
        from safetensors.torch import save

        return save({key: value.contiguous() for key, value in content.items()}, metadata={"format": "pt"})
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def load_bare(contents: Contents, hints: Hints) -> Loaded:
    """One tensor and nothing else; see `text_spaces.load_bare`."""
    from . import text_spaces

    return text_spaces.load_bare(contents, hints)


_COMMON: dict[str, Any] = {"kind": "textual-inversion", "load": load, "facts": facts, "holds": ("word",)}
_ANY = (".safetensors", ".bin", ".pt")
FORMATS = (
    Format(
        title="Textual Inversion embedding (A1111)",
        layout='`{"string_to_token": {"*": 265}, "string_to_param": {"*": [n, d]}, "name": ..., "step": ...}`',
        recognise=is_a1111,
        save=save_a1111,
        writes=("a1111",),
        suffixes=(".pt", ".safetensors", ".bin"),
        **_COMMON,
    ),
    Format(
        title="Textual Inversion embedding (original release)",
        layout='`{"string_to_token": {"*": id}, "string_to_param": {"*": [n, d]}}`, one key for each word',
        recognise=is_string_to_param,
        save=save_original,
        writes=("original",),
        suffixes=(".pt",),
        **_COMMON,
    ),
    Format(
        title="Textual Inversion embedding (a matrix for each text encoder)",
        layout="`clip_l [n, d1]`, `clip_g [n, d2]` (SDXL), `t5` (FLUX); older `text_encoders_0`, `text_encoders_1`",
        recognise=is_pair,
        **_COMMON,
    ),
    Format(
        title="Textual Inversion embedding (A1111 or kohya, safetensors)",
        layout="`emp_params [n, d]` or `emb_params [n, d]`",
        recognise=is_nameless,
        **_COMMON,
    ),
    Format(
        title="Textual Inversion embedding (a bare tensor)",
        layout="one tensor `[d]` or `[n, d]`; the word is given with `token=`. `[1, n, d]` is HiPer's embedding; what "
        "else it may be, `space=` says (`text_residual`, `tuned_text`)",
        recognise=is_bare,
        **(_COMMON | {"load": load_bare}),
    ),
    Format(
        title="Textual Inversion embedding (diffusers)",
        layout="`{token: [d] or [n, d]}`, one key for each word",
        recognise=is_named,
        save=save_diffusers,
        writes=("diffusers",),
        suffixes=_ANY,
        **_COMMON,
    ),
)
