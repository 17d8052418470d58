"""Files of concepts in a text encoder's output or layers: HiPer, Cones 2, CatVersion, Aesthetic Gradients, DisenBooth.

Three of them are one bare tensor, which does not say what it is: `Hints.space` does. Only HiPer's [1, n, d] is told by
its shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..errors import PersonaError
from . import lora_save
from .base import Format, Hints, Loaded, LoadReport
from .contents import Contents
from .text_embeddings import FAMILY_OF_WIDTH, slug, write
from .text_embeddings import load as load_word

PREFIX = re.compile(r"prefix_tuning\b.*\.control_trans$")
LAYER = re.compile(r"layers\.(\d+)\.self_attn\.")
CONFIG = "adapter_config.json"
ADAPTER = ("adapter.0.weight", "adapter.0.bias", "adapter.2.weight", "adapter.2.bias", "mask")
ADAPTER_FILE = "adapter.pt"
BARE = {"text_output": "embedding", "text_residual": "residual", "tuned_text": "embedding"}
"""Kind of a space that is one bare tensor in its official file -> that tensor's name."""


# -------------------------------------------------------------------------------------------------------- bare tensors


def load_bare(contents: Contents, hints: Hints) -> Loaded:
    """One tensor: vectors of a word, or what `Hints.space` says; [1, n, d] are the last vectors of a text's output.

    Raises:
        PersonaError: a space that is no bare tensor, or a tensor of another shape than it has.
    """
    (key,) = contents.infos
    shape = contents.shape(key)
    kind = hints.space or ("text_output" if len(shape) == 3 and shape[0] == 1 else "word")
    if kind == "word":
        return load_word(contents, hints)
    if kind not in BARE:
        raise PersonaError(f"{contents.path}: space={kind!r} is no bare tensor; choose word, {', '.join(BARE)}")
    rows = contents.tensors[key].float().reshape(-1, shape[-1]).clone()
    if kind == "tuned_text" and len(rows) != 1:
        raise PersonaError(f"{contents.path}: shape {list(shape)}; an aesthetic embedding is one vector [1, d]")
    name = BARE[kind] if kind == "tuned_text" else f"text_encoder.{BARE[kind]}"
    return Loaded(
        spaces=[_space(kind, rows)],
        tensors={f"0.{kind}.{name}": rows},
        report=LoadReport(matched=(key,)),
        family=FAMILY_OF_WIDTH.get(shape[-1]),
    )


def _space(kind, rows):
    from ..spaces import TextOutput, TextResidual, TunedText

    if kind == "text_output":
        return TextOutput(vectors=len(rows), use=0.8)
    return TextResidual() if kind == "text_residual" else TunedText()


def _save_bare(kind: str, name: Callable[[Any], str], shape: Callable) -> Callable:
    """The writer of a concept that is one tensor, for one text encoder."""
    key = BARE[kind] if kind == "tuned_text" else f"text_encoder.{BARE[kind]}"

    def save(concept, **wishes) -> dict[str, bytes] | None:
        index = next(i for i, space in enumerate(concept.spaces) if space.kind == kind)
        tensors = concept.tensors_of(index)
        if any(other.startswith("text_encoder_2.") for other in tensors) or key not in tensors:
            return None
        return {f"{name(concept)}.pt": write(shape(tensors[key]).clone(), ".pt")}

    return save


def _steps(concept) -> int:
    return (concept.header.get("training") or {}).get("steps") or 0


# ---------------------------------------------------------------------------------------------------------- CatVersion


def load_prefix(contents: Contents, hints: Hints) -> Loaded:
    """Keys and values of the last layers: one vector [n * 2 layers * d], stored several times over.

    Raises:
        PersonaError: the copies differ, or the length does not fit the layers that the keys name.
    """
    import torch

    from ..spaces import TextPrefix

    copies = {key: contents.tensors[key].float().flatten() for key in contents.infos if PREFIX.search(key)}
    first = next(iter(copies.values()))
    if any(not torch.equal(first, other) for other in copies.values()):
        raise PersonaError(f"{contents.path}: the copies of the prefix differ; the file is of another method")
    layers = len({found[1] for key in copies if (found := LAYER.search(key))}) or 1
    length = int(((contents.beside(CONFIG) or {}).get("config") or {}).get("prefix_length", 1))
    if len(first) % (2 * layers * length):
        raise PersonaError(
            f"{contents.path}: {len(first)} numbers are no {length} keys and values of {layers} layers; is it whole?"
        )
    prefix = first.view(length, layers, 2, -1).permute(1, 2, 0, 3).contiguous()
    return Loaded(
        spaces=[TextPrefix(layers=layers, length=length, bias=1.0)],
        tensors={"0.text_prefix.text_encoder.prefix": prefix},
        report=LoadReport(matched=tuple(copies), unused=tuple(key for key in contents.infos if key not in copies)),
        family=FAMILY_OF_WIDTH.get(prefix.shape[-1]),
    )


# ---------------------------------------------------------------------------------------------------------- DisenBooth


def load_image_branch(contents: Contents, hints: Hints) -> Loaded:
    """The adapter of the pictures; without the references' embeddings it has nothing to show in use."""
    from ..spaces import ImageBranch

    return Loaded(
        spaces=[ImageBranch()],
        tensors={f"0.image_branch.{key}": contents.tensors[key].float() for key in ADAPTER},
        report=LoadReport(matched=ADAPTER),
    )


def save_image_branch(concept, **wishes) -> dict[str, bytes] | None:
    """The official code's two files: diffusers' LoRA and the adapter."""
    files = {}
    for i, space in enumerate(concept.spaces):
        if space.kind == "low_rank":
            layers = lora_save.layers_of(space, concept.tensors_of(i), None)
            files[lora_save.LORA_FILE] = lora_save.diffusers(space, layers)
        if space.kind == "image_branch":
            tensors = concept.tensors_of(i)
            if "output.weight" in tensors:
                return None
            files[ADAPTER_FILE] = write({key: tensors[key] for key in ADAPTER}, ".pt")
    return files


FORMATS = (
    Format(
        kind="text-prefix",
        title="CatVersion prefix (official code, adapter-transformers)",
        layout="`...layers.<n>.self_attn.prefix_tuning...control_trans [n * 2 * layers * d]`, "
        "`adapter_config.json` beside it",
        recognise=lambda contents: any(PREFIX.search(key) for key in contents.infos),
        load=load_prefix,
    ),
    Format(
        kind="image-branch",
        title="DisenBooth image adapter (official code)",
        layout="`adapter.0.weight`, `adapter.0.bias`, `adapter.2.weight`, `adapter.2.bias`, `mask`, beside a LoRA",
        recognise=lambda contents: set(contents.infos) == set(ADAPTER),
        load=load_image_branch,
        save=save_image_branch,
        writes=("disenbooth",),
        holds=("low_rank", "image_branch"),
        suffixes=(".pt",),
        beside=True,
    ),
    Format(
        kind="text-output",
        title="HiPer embedding (official code)",
        layout="one tensor `[1, n, d]`",
        recognise=lambda contents: False,
        save=_save_bare("text_output", lambda c: f"hiper_embeddings_step{_steps(c)}", lambda t: t[None]),
        writes=("original",),
        holds=("text_output",),
        suffixes=(".pt",),
    ),
    Format(
        kind="text-residual",
        title="Cones 2 residual (official code)",
        layout='one tensor `[n, d]`; read with `space="text_residual"`',
        recognise=lambda contents: False,
        save=_save_bare("text_residual", lambda c: slug(c.noun), lambda t: t),
        writes=("original",),
        holds=("text_residual",),
        suffixes=(".pt",),
    ),
    Format(
        kind="aesthetic-embedding",
        title="Aesthetic Gradients embedding (official code)",
        layout='one tensor `[1, d]`; read with `space="tuned_text"`',
        recognise=lambda contents: False,
        save=_save_bare("tuned_text", lambda c: slug(c.noun), lambda t: t),
        writes=("original",),
        holds=("tuned_text",),
        suffixes=(".pt",),
    ),
)
