"""Words that depend on layer or time: P+ (an embedding a layer), NeTI (its mapper), ProSpect (its network).

P+ has no official release: the layout is that of the port mkshing/prompt-plus-pytorch, one key a layer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError
from .base import Format, Hints, Loaded, LoadReport
from .contents import Contents
from .text_embeddings import FAMILY_OF_WIDTH, licence, vectors, word_of, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

LAYER_KEY = re.compile(r"(?P<word>.+)-(?P<layer>\d+)")
LEAST_LAYERS = 4
MAPPER, MAPPER_OBJECT, NETWORK = "state_dict.", "encoder.", "attention."


def _layers(contents: Contents) -> dict[str, list[str]]:
    """Word -> its keys from layer 0 on; empty when a key is no layer of a word, or layers are missing."""
    words: dict[str, dict[int, str]] = {}
    for key in contents.infos:
        match = LAYER_KEY.fullmatch(key)
        if match is None:
            return {}
        words.setdefault(match["word"], {})[int(match["layer"])] = key
    whole = all(sorted(keys) == list(range(len(keys))) and len(keys) >= LEAST_LAYERS for keys in words.values())
    return {word: [keys[n] for n in range(len(keys))] for word, keys in words.items()} if whole else {}


def is_layered(contents: Contents) -> bool:
    """Whether the keys are ``<word>-0``, ``<word>-1``, ... with one vector each."""
    infos = list(contents.infos.values())
    return bool(_layers(contents)) and all(len(i.shape) == 1 and i.shape == infos[0].shape for i in infos)


def load_layered(contents: Contents, hints: Hints) -> Loaded:
    """Each word of the file as a `PPlus` space."""
    import torch

    from ..spaces import PPlus

    words = _layers(contents)
    names = _names(contents, hints, list(words))
    spaces, tensors = [], {}
    for i, (name, keys) in enumerate(zip(names, words.values())):
        rows = torch.stack([vectors(contents, key) for key in keys])
        spaces.append(PPlus(token=name))
        tensors[f"{i}.p_plus.text_encoder.embedding"] = rows
    return _loaded(
        contents, spaces, tensors, set(contents.infos), names[0], contents.shape(next(iter(contents.infos)))[-1]
    )


def save_layered(concept, *, suffix: str | None = None, pipe=None) -> dict[str, bytes] | None:
    """``{"<word>-0": [d], ...}``: one file for all words; SDXL's second encoder has no place in it."""
    content: dict[str, Any] = {}
    for i, space in enumerate(concept.spaces):
        if space.kind == "p_plus":
            tensors = {k: v for k, v in concept.tensors_of(i).items() if k.endswith(".embedding")}
            if set(tensors) != {"text_encoder.embedding"} or tensors["text_encoder.embedding"].shape[1] != 1:
                return None
            rows = tensors["text_encoder.embedding"][:, 0]
            content |= {f"{space.token}-{layer}": row.clone() for layer, row in enumerate(rows)}
    return {f"learned_embeds{suffix or '.bin'}": write(content, suffix or ".bin")}


# ---------------------------------------------------------------------------------------------------------------- NeTI


def is_mapper(contents: Contents) -> bool:
    """Whether there are NeTI's mapper and its positional encoding."""
    keys = contents.infos
    return f"{MAPPER}input_layer.weight" in keys and f"{MAPPER}output_layer.0.weight" in keys


def load_mapper(contents: Contents, hints: Hints) -> Loaded:
    """The mapper as a `SpaceTime` space.

    Raises:
        PersonaError: without the positional encoding's frequencies, or without the length of the class word.
    """
    import torch

    from ..functional.space_time import TRAINED
    from ..spaces import SpaceTime

    wanted = {f"{n}.{kind}": f"{MAPPER}{n}.{kind}" for n in TRAINED for kind in ("weight", "bias")}
    wanted["frequencies"] = next((k for k in (f"{MAPPER_OBJECT}w", f"{MAPPER}encoder.w") if k in contents.infos), "")
    missing = [key or "encoder.w" for key in wanted.values() if key not in contents.infos]
    norm = contents.extra.get("cfg.model.target_norm")
    if missing or not isinstance(norm, (int, float)):
        what = missing[0] if missing else "cfg.model.target_norm (a number)"
        raise PersonaError(f"{contents.path}: {what} is missing: NeTI's mapper is not whole; save it again")
    tensors = {f"0.space_time.text_encoder.{name}": contents.tensors[key].float() for name, key in wanted.items()}
    tensors["0.space_time.text_encoder.norm"] = torch.tensor(float(norm))
    bypass = contents.extra.get("cfg.model.output_bypass", True)
    out, hidden = contents.shape(wanted["output_layer.0.weight"])
    anchors = contents.extra.get("cfg.model.num_pe_time_anchors")
    own = contents.extra.get("cfg.data.placeholder_token")
    names = _names(contents, hints, [own if isinstance(own, str) else None])
    space = SpaceTime(
        frequencies=contents.shape(wanted["frequencies"])[0],
        anchors=anchors if isinstance(anchors, int) else SpaceTime.anchors,
        hidden=hidden,
        bypass=SpaceTime.bypass if bypass else 0.0,
        token=names[0],
    )
    twins = {f"{MAPPER}net.0.weight", f"{MAPPER}net.0.bias", f"{MAPPER}encoder.w"}  # the input layer, once more
    used = {*wanted.values(), *(twins & set(contents.infos))}
    return _loaded(contents, [space], tensors, used, names[0], out // 2 if bypass else out)


# ------------------------------------------------------------------------------------------------------------ ProSpect


def is_network(contents: Contents) -> bool:
    """Whether there are ProSpect's transformer block and the embedding that it begins with."""
    return "initial_embeddings" in contents.infos and f"{NETWORK}ff.net.2.weight" in contents.infos


def load_network(contents: Contents, hints: Hints) -> Loaded:
    """The network as a `Stages` space. Queries and keys act on one position: they have no effect, and are left out."""
    from ..functional.stages import SHAPES
    from ..spaces import Stages

    wanted = {"initial": "initial_embeddings", **{name: NETWORK + name for name in SHAPES}}
    missing = [key for key in wanted.values() if key not in contents.infos]
    if missing:
        raise PersonaError(f"{contents.path}: {missing[0]} is missing: ProSpect's network is not whole; save it again")
    width = contents.shape("initial_embeddings")[-1]
    tensors = {f"0.stages.text_encoder.{name}": contents.tensors[key].float() for name, key in wanted.items()}
    tensors["0.stages.text_encoder.initial"] = tensors["0.stages.text_encoder.initial"].reshape(1, width)
    names = _names(contents, hints, [None])
    space = Stages(stages=contents.shape(wanted["ff.net.2.weight"])[0] // width, token=names[0])
    idle = {f"{NETWORK}{n}.{kind}.weight" for n in ("attn1", "attn2") for kind in ("to_q", "to_k")}
    used = {*wanted.values(), *(idle & set(contents.infos))}
    return _loaded(contents, [space], tensors, used, names[0], width)


# -------------------------------------------------------------------------------------------------------------- common


def _names(contents: Contents, hints: Hints, own: list) -> list[str]:
    """The words: the user's, else the file's, else one made of the file's name."""
    tokens = [token.strip() for token in hints.tokens]
    if tokens and (len(tokens) != len(own) or len(set(tokens)) < len(tokens) or not all(tokens)):
        raise PersonaError(
            f"{contents.path}: {len(own)} words are in the file, token={hints.token!r} is not one for each"
        )
    return tokens or [name or word_of(contents.path) for name in own]


def _loaded(contents, spaces, tensors: Mapping[str, Tensor], used: set[str], token: str, width: int) -> Loaded:
    keys = contents.infos
    return Loaded(
        spaces=spaces,
        tensors=dict(tensors),
        report=LoadReport(matched=tuple(k for k in keys if k in used), unused=tuple(k for k in keys if k not in used)),
        token=token,
        family=FAMILY_OF_WIDTH.get(width),
        licence=licence(contents),
    )


def _facts(contents: Contents) -> dict[str, Any]:
    words = _layers(contents)
    return {"token": ", ".join(words), "layers": ", ".join(str(len(keys)) for keys in words.values())}


FORMATS = (
    Format(
        kind="p-plus",
        title="P+ embedding (one vector a layer)",
        layout="`{token}-0 [d]`, `{token}-1 [d]`, ...: 16 for SD 1.x",
        recognise=is_layered,
        load=load_layered,
        save=save_layered,
        writes=("original",),
        holds=("p_plus",),
        suffixes=(".bin", ".safetensors", ".pt"),
        facts=_facts,
    ),
    Format(
        kind="neti",
        title="NeTI mapper (official release)",
        layout="`{state_dict: {input_layer.weight, net.*, output_layer.0.*}, cfg, encoder}`",
        recognise=is_mapper,
        load=load_mapper,
        facts=lambda contents: {"hidden": contents.shape(f"{MAPPER}output_layer.0.weight")[1]},
    ),
    Format(
        kind="prospect",
        title="ProSpect embedding (official release)",
        layout="`{attention: a transformer block, initial_embeddings: [1, d]}`",
        recognise=is_network,
        load=load_network,
        facts=lambda contents: {"width": contents.shape("initial_embeddings")[-1]},
    ),
)
