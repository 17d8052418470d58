"""Write the spaces of factorised weight changes in other people's layouts; `lora` reads them back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError
from . import bfl, ldm, lora, lora_keys, lora_layers

if TYPE_CHECKING:
    from torch import Tensor

LORA_FILE = "pytorch_lora_weights.safetensors"
PEFT_CONFIG, PEFT_FILE = "adapter_config.json", "adapter_model.safetensors"
_KOHYA_PARTS = {
    lora_layers.DOWN: "lora_down.weight",
    lora_layers.UP: "lora_up.weight",
    lora_layers.MAGNITUDE: "dora_scale",
}


def layers_of(space, tensors: Mapping[str, Tensor], unet=None) -> dict[str, lora_layers.Layer]:
    """``<component>.<module path>`` -> `Layer` of a learned or loaded space, in diffusers' names.

    Args:
        space: a `LowRank`, `Hadamard` or `Kronecker`.
        tensors: under the space's own names.
        unet: config of the UNet, for layers that still have original names; by default that of the released models.
    """
    found = {}
    for path, parts in space.layers(tensors).items():
        component, _, inner = path.partition(".")
        if component == "unet" and ldm.is_ldm(inner):
            inner = ldm.to_diffusers(inner) if unet is None else ldm.of_config(inner, unet)
        factors = {part: value for part, value in parts.items() if part != "alpha"}
        layer = lora_layers.Layer(kind=space.kind, parts=factors, scaling=space.scaling_of(parts))
        found[f"{component}.{inner}"] = layer
    return found


def together(space, several: list[Mapping[str, lora_layers.Layer]]) -> tuple[Any, dict[str, lora_layers.Layer]]:
    """Several LoRAs as one file has them: a layer of more than one gets the sum of the ranks.

    Returns:
        `space` with the ranks and targets of all, and the layers.

    Raises:
        PersonaError: two LoRAs of one layer have magnitudes (DoRA): they have no sum.
    """
    import collections

    import torch

    found: dict[str, lora_layers.Layer] = {}
    for path, layer in (item for layers in several for item in layers.items()):
        if path not in found:
            found[path] = layer
            continue
        pair = (found[path], layer)
        if any(lora_layers.MAGNITUDE in each.parts for each in pair):
            raise PersonaError(f"layer {path}: two LoRAs with magnitudes cannot be written into one file")
        down = torch.cat([each.parts[lora_layers.DOWN] for each in pair])
        up = torch.cat([each.parts[lora_layers.UP] * each.scaling for each in pair], dim=1)
        parts = {lora_layers.DOWN: down, lora_layers.UP: up}
        found[path] = lora_layers.Layer(kind=layer.kind, parts=parts, scaling=1.0)
    ranks = collections.Counter(lora_layers.rank(layer.parts) for layer in found.values())
    targets = sorted({lora_layers.ending(path) for path in found if not path.startswith("text_encoder")})
    usual = ranks.most_common(1)[0][0]
    plain = dataclasses.replace(space, rank=usual, alpha=None, rank_stabilised=False, targets=tuple(targets))
    return plain, found


def _file(content: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    from safetensors.torch import save

    return save(
        {key: value.contiguous() for key, value in content.items()}, metadata={"format": "pt"} | (metadata or {})
    )


# ----------------------------------------------------------------------------------------------------------- diffusers


def diffusers(space, layers: Mapping[str, lora_layers.Layer]) -> bytes:
    """diffusers' own layout with PEFT's config in the metadata, without which the alphas would be lost."""
    numbers: dict[str, Any] = {}
    for component in dict.fromkeys(path.partition(".")[0] for path in layers):
        own = {path.partition(".")[2]: layer for path, layer in layers.items() if path.startswith(f"{component}.")}
        numbers |= {f"{component}.{name}": value for name, value in _peft_numbers(space, component, own).items()}
    content = {f"{path}.{part}": value for path, layer in layers.items() for part, value in layer.parts.items()}
    return _file(content, {"lora_adapter_metadata": json.dumps(numbers, indent=2, sort_keys=True, default=str)})


def _peft_numbers(space, component, layers) -> dict[str, Any]:
    """PEFT's config of a component, with the ranks and alphas of those layers that differ from the declared ones."""
    ranks = {path: lora_layers.rank(layer.parts) for path, layer in layers.items()}
    uneven = any(ranks[path] != space.rank or layer.scaling != space.scaling for path, layer in layers.items())
    if uneven and getattr(space, "rank_stabilised", False):
        space = dataclasses.replace(space, rank_stabilised=False, alpha=space.scaling * space.rank)
    usual = space.rank if space.alpha is None else space.alpha
    alphas = {path: layer.scaling * ranks[path] for path, layer in layers.items() if ranks[path] and uneven}
    chosen = getattr(space, "blocks", ()) or getattr(space, "ranks", {})
    names = sorted(layers) if chosen else sorted({lora_layers.ending(path) for path in layers})
    config = space.peft_config(names).to_dict()
    config |= {
        "rank_pattern": {_pattern(component, p): r for p, r in ranks.items() if r and r != space.rank},
        "alpha_pattern": {_pattern(component, p): a for p, a in alphas.items() if a != usual},
    }
    return {name: sorted(value) if isinstance(value, set) else value for name, value in config.items()}


def _pattern(component, path) -> str:
    """A pattern that only this module's name matches, with or without the text encoder's ``text_model``."""
    return path.removeprefix("text_model.") if component.startswith("text_encoder") else f"^{path}"


def peft(space, layers: Mapping[str, lora_layers.Layer]) -> dict[str, bytes]:
    """PEFT's folder: ``adapter_config.json`` and ``adapter_model.safetensors``; one folder each for several models."""
    files: dict[str, bytes] = {}
    components = list(dict.fromkeys(path.partition(".")[0] for path in layers))
    for component in components:
        own = {path.partition(".")[2]: layer for path, layer in layers.items() if path.startswith(f"{component}.")}
        folder = f"{component}/" if len(components) > 1 else ""
        numbers = _peft_numbers(space, component, own) | {"inference_mode": True}
        model = next((model for model, name in lora_keys.MODELS.items() if name == component), None)
        numbers["auto_mapping"] = {"base_model_class": model} if model else None
        content = {f"base_model.model.{p}.{part}": v for p, layer in own.items() for part, v in layer.parts.items()}
        files[folder + PEFT_CONFIG] = json.dumps(numbers, indent=2, sort_keys=True, default=str).encode()
        files[folder + PEFT_FILE] = _file(content)
    return files


# --------------------------------------------------------------------------------------------------------------- kohya


def kohya(layers: Mapping[str, lora_layers.Layer]) -> bytes:
    """kohya's layout, also A1111's, ComfyUI's and LyCORIS's: flattened names, an alpha for each layer."""
    import torch

    two_encoders = any(path.startswith("text_encoder_2.") for path in layers)
    flux = any(path.startswith("transformer.") for path in layers)
    content: dict[str, Tensor] = {}
    for path, layer in (_fused(layers) if flux else layers).items():
        name = _kohya_name(path, two_encoders or flux)
        for part, value in layer.parts.items():
            content[f"{name}.{_KOHYA_PARTS.get(part, part)}"] = (
                _kohya_scale(value) if part == lora_layers.MAGNITUDE else value
            )
        inner = lora_layers.rank(layer.parts)
        if inner is not None:
            content[f"{name}.alpha"] = torch.tensor(layer.scaling * inner)
        elif layer.scaling != 1.0:
            content[f"{name}.lokr_w1"] = content[f"{name}.lokr_w1"] * layer.scaling
    inner = [lora_layers.rank(layer.parts) for layer in layers.values()]
    ranks = sorted({r for r in inner if r})
    note = {"ss_network_module": "networks.lora" if layers_are_lora(layers) else "lycoris.kohya"}
    return _file(content, note | ({"ss_network_dim": str(ranks[-1])} if ranks else {}))


def layers_are_lora(layers: Mapping[str, lora_layers.Layer]) -> bool:
    """Whether every layer is a plain low-rank one."""
    return all(layer.kind == "low_rank" for layer in layers.values())


def _kohya_scale(magnitude):
    """One column for magnitudes of rows; those of columns are a row already."""
    return magnitude if magnitude.ndim == 2 and magnitude.shape[0] == 1 else magnitude.reshape(-1, 1)


def _kohya_name(path, numbered) -> str:
    component, _, inner = path.partition(".")
    if component in ("unet", "transformer"):
        return "lora_unet_" + inner.replace(".", "_")
    first = "lora_te1_" if numbered else "lora_te_"
    prefix = {"text_encoder": first, "text_encoder_2": "lora_te2_", "text_encoder_3": "lora_te3_"}[component]
    projected = (
        inner if inner.startswith(("text_model.", "text_projection", "encoder.block.")) else f"text_model.{inner}"
    )
    return prefix + projected.replace(".", "_")


def _fused(layers: Mapping[str, lora_layers.Layer]) -> dict[str, lora_layers.Layer]:
    """FLUX layers under the original's names: query, key and value (and a single block's first layer) as one."""
    groups: dict[str, dict[int, tuple[str, lora_layers.Layer]]] = {}
    plain = {}
    for path, layer in layers.items():
        component, _, inner = path.partition(".")
        place = bfl.from_diffusers(inner) if component == "transformer" else None
        if place is None:
            plain[path] = layer
        else:
            groups.setdefault(place[0], {})[place[1]] = (inner, layer)
    for name, members in groups.items():
        targets = bfl.to_diffusers(name)
        if len(targets) == 1:
            inner, layer = members[0]
            parts = lora.scale_first(layer.parts) if inner == bfl.SHIFT_FIRST else layer.parts
            plain[f"transformer.{name}"] = lora_layers.Layer(kind=layer.kind, parts=parts, scaling=layer.scaling)
        else:
            plain[f"transformer.{name}"] = _one(name, targets, {i: layer for i, (_, layer) in members.items()})
    return plain


def _one(name, targets, members: Mapping[int, lora_layers.Layer]) -> lora_layers.Layer:
    """Several low-rank layers as one: a shared A where it is one and the same, else their ranks side by side."""
    import torch

    first = next(iter(members.values()))
    if any(layer.kind != "low_rank" or lora_layers.MAGNITUDE in layer.parts for layer in members.values()):
        raise PersonaError(
            f"layer {name}: only plain LoRA can be written into FLUX's fused layers; export as diffusers"
        )
    sizes = _sizes(targets, members)
    shared = all(
        layer.scaling == first.scaling and torch.equal(layer.parts[lora_layers.DOWN], first.parts[lora_layers.DOWN])
        for layer in members.values()
    )
    like = first.parts[lora_layers.UP]
    if shared:
        ups = [
            members[i].parts[lora_layers.UP] if i in members else like.new_zeros(n, like.shape[1])
            for i, n in enumerate(sizes)
        ]
        parts = {lora_layers.DOWN: first.parts[lora_layers.DOWN], lora_layers.UP: torch.cat(ups)}
        return lora_layers.Layer(kind="low_rank", parts=parts, scaling=first.scaling)
    ranks = [members[i].parts[lora_layers.UP].shape[1] if i in members else 0 for i in range(len(sizes))]
    up = like.new_zeros(sum(sizes), sum(ranks))
    for i, layer in members.items():
        rows, columns = sum(sizes[:i]), sum(ranks[:i])
        up[rows : rows + sizes[i], columns : columns + ranks[i]] = layer.parts[lora_layers.UP] * layer.scaling
    down = torch.cat([members[i].parts[lora_layers.DOWN] for i in sorted(members)])
    return lora_layers.Layer(kind="low_rank", parts={lora_layers.DOWN: down, lora_layers.UP: up}, scaling=1.0)


def _sizes(targets, members) -> list[int]:
    """Rows of each layer that belongs into a fused one, of absent ones by the model's proportions."""
    width = next((len(members[i].parts[lora_layers.UP]) for i in range(3) if i in members), None)
    if width is None:
        width = len(members[3].parts[lora_layers.UP]) // bfl.MLP_RATIO
    return [
        len(members[i].parts[lora_layers.UP]) if i in members else width * (bfl.MLP_RATIO if i == 3 else 1)
        for i in range(len(targets))
    ]
