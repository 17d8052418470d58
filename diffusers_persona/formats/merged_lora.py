"""Files of methods that divide or merge LoRAs: B-LoRA's two blocks, ZipLoRA's full matrices, LoRA.rar's network."""

from __future__ import annotations

import dataclasses
import re

from . import adapters, lora, lora_keys, lora_save
from .base import Format, Hints, Loaded, LoadReport
from .contents import Contents
from .lora_layers import DOWN, UP
from .signatures import by_keys

_PARTS = {"up_blocks.0.attentions.0.": "content", "up_blocks.0.attentions.1.": "style"}
_FULL = re.compile(r"^(?:unet\.)*(?P<layer>.+)\.lora\.weight$")
_NETWORK = r"^(module\.)?(input_\d+|output\.1)\.(weight|bias)$"


# -------------------------------------------------------------------------------------------------------------- B-LoRA


def _is_b_lora(contents: Contents) -> bool:
    """Whether every layer lies in the two blocks, and both blocks have some."""
    layers = [found[0] for found in map(lora_keys.split, contents.infos) if found]
    if len(layers) < len(contents.infos):
        return False
    parts = {next((part for block, part in _PARTS.items() if block in f"{layer}."), None) for layer in layers}
    return parts == set(_PARTS.values())


def _load_b_lora(contents: Contents, hints: Hints) -> Loaded:
    """Two LoRAs, ``content`` and ``style``, out of one file."""
    adapter = lora.read(contents.tensors, metadata=contents.metadata)
    spaces, tensors = [], {}
    for block, part in _PARTS.items():
        layers = {path: layer for path, layer in adapter.layers.items() if f".{block}" in path}
        for space, named in lora.spaces(dataclasses.replace(adapter, layers=layers)):
            tensors |= {f"{len(spaces)}.{space.kind}.{name}": tensor for name, tensor in named.items()}
            spaces.append(dataclasses.replace(space, name=part))
    report = LoadReport(matched=tuple(adapter.matched), unused=tuple(adapter.unused), missing=tuple(adapter.missing))
    return Loaded(spaces=spaces, tensors=tensors, report=report, family=adapter.family)


def _save_b_lora(concept, **wishes):
    """The official layout: older diffusers keys of both blocks; None for a concept of other parts."""
    from safetensors.torch import save

    names = {"content", "style"}
    spaces = [(i, space) for i, space in enumerate(concept.spaces) if space.kind == "low_rank"]
    layers = [lora_save.layers_of(space, concept.tensors_of(i)) for i, space in spaces]
    paths = [path for each in layers for path in each]
    if {s.name for _, s in spaces} != names or not all(any(f".{b}" in path for b in _PARTS) for path in paths):
        return None
    content = {}
    for path, layer in (item for each in layers for item in each.items()):
        content[f"{path}.lora.down.weight"] = layer.parts[DOWN]
        content[f"{path}.lora.up.weight"] = layer.parts[UP] * layer.scaling
    return {lora_save.LORA_FILE: save({key: value.contiguous() for key, value in content.items()})}


# ------------------------------------------------------------------------------------------------------- full matrices


def _load_full(contents: Contents, hints: Hints) -> Loaded:
    """Each matrix as a LoRA of full rank, exact: one factor is the matrix, the other the identity."""
    import torch

    layers, matched, unused = {}, [], []
    for key, weight in contents.tensors.items():
        found = _FULL.match(key)
        if found is None or weight.ndim != 2:
            unused.append(key)
            continue
        path = lora_keys.resolve(f"unet.{found['layer']}")[0]
        rows, columns = weight.shape
        wide = rows <= columns
        layers[f"{path}.{DOWN}"] = weight.float() if wide else torch.eye(columns)
        layers[f"{path}.{UP}"] = torch.eye(rows) if wide else weight.float()
        matched.append(key)
    ranks = {len(value) for key, value in layers.items() if key.endswith(DOWN)}
    from ..spaces import LowRank

    space = LowRank(rank=max(ranks, default=1))
    tensors = {f"0.{space.kind}.{name}": tensor for name, tensor in layers.items()}
    return Loaded(spaces=[space], tensors=tensors, report=LoadReport(matched=tuple(matched), unused=tuple(unused)))


FORMATS = (
    Format(
        kind="b-lora",
        title="B-LoRA (content and style block of SDXL)",
        layout="`unet.up_blocks.0.attentions.0...lora.down.weight` (content), `...attentions.1...` (style)",
        recognise=_is_b_lora,
        load=_load_b_lora,
        save=_save_b_lora,
        writes=("b-lora",),
        holds=("low_rank",),
        facts=adapters.facts,
    ),
    Format(
        kind="merged-lora",
        title="merged LoRA in full matrices (ziplora-pytorch)",
        layout="`unet.unet.<layer>.lora.weight` [out, in]",
        recognise=by_keys(r"\.lora\.weight$", every=True),
        load=_load_full,
    ),
    Format(
        kind="lora-merging-network",
        title="LoRA.rar's merging network",
        layout="`input_<n>.weight` [h, 2 out], `output.1.weight` [2, h]",
        recognise=by_keys(_NETWORK, every=True),
        refusal="it merges LoRAs, it is no concept",
        next_step="persona merge SUBJECT STYLE --how lora-rar --set network=FILE",
    ),
)
