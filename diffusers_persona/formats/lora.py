"""Read files of factorised weight changes: LoRA, DoRA, LoCon, LoHa and LoKr, however their keys are spelt.

The result is independent of the file's layout: layers under diffusers' names, each with its factors and its scaling.
`lora_keys` knows the spellings, `lora_save` the way back.
"""

from __future__ import annotations

import collections
import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError
from . import bfl, ldm, lora_keys
from .lora_layers import DOWN, MAGNITUDE, MID, TEXT_LAYERS, UP, WIDTHS, Adapter, Layer, ending, family, rank, widths_of

if TYPE_CHECKING:
    from torch import Tensor

_HADAMARD = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_OPTIONAL = ("alpha", "dora_scale", MAGNITUDE)
_PARTS = {
    "low_rank": (DOWN, UP, MID, *_OPTIONAL),
    "hadamard": (*_HADAMARD, "hada_t1", "hada_t2", *_OPTIONAL),
    "kronecker": tuple(f"lokr_{p}" for p in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")) + _OPTIONAL,
}


def read(
    tensors: Mapping[str, Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
    numbers: Mapping[str, float] | None = None,
    config: Mapping[str, Any] | None = None,
    unet=None,
) -> Adapter:
    """Reads the layers out of a file's tensors.

    Args:
        tensors: key -> tensor.
        metadata: the file's own (diffusers' ``lora_adapter_metadata`` holds alphas; kohya's ``ss_*`` the base model).
        numbers: key -> plain number, for alphas that are no tensors.
        config: PEFT's ``adapter_config.json``, where one lies beside the file.
        unet: the config of the UNet that the file is meant for; only needed for unusual UNets in original names.

    Raises:
        PersonaError: when two keys mean the same layer, or factors do not fit each other.
    """
    import torch

    metadata = metadata or {}
    named, unused = _group({**tensors, **{k: torch.tensor(float(v)) for k, v in (numbers or {}).items()}})
    adapter = Adapter(layers={}, matched=[], unused=unused, missing=[])
    declared = _declared(metadata, config)
    model = (declared.get("auto_mapping") or {}).get("base_model_class")
    for layer, keyed in named.items():
        kind = next((kind for kind, parts in _PARTS.items() if set(keyed) & (set(parts) - set(_OPTIONAL))), None)
        targets = lora_keys.resolve(layer, model) if kind else ()
        absent = _absent(kind, keyed) if targets else []
        foreign = [key for part, (key, _) in keyed.items() if not targets or absent or part not in _PARTS[kind]]
        adapter.unused += foreign
        adapter.missing += [f"{layer}.{part}" for part in absent]
        if not targets or absent:
            continue
        adapter.matched += [key for key, _ in keyed.values() if key not in foreign]
        parts = {part: value for part, (key, value) in keyed.items() if key not in foreign}
        for path, split in _split(kind, targets, layer, _plain(kind, parts, layer)):
            if path in adapter.layers:
                raise PersonaError(f"two sets of keys change layer {path} (one begins {layer!r}); keep one of them")
            adapter.layers[path] = _with_scaling(kind, path, split, declared)
    adapter.family, adapter.base = family({path: layer.parts for path, layer in adapter.layers.items()}, metadata)
    _name_by_diffusers(adapter, unet)
    return adapter


def spaces(adapter: Adapter) -> list[tuple[Any, dict[str, Tensor]]]:
    """The adapter as inversion spaces with their tensors: one for LoRA, one for LoHa, one for LoKr, where present."""
    found = []
    for kind in _PARTS:
        layers = {path: layer for path, layer in adapter.layers.items() if layer.kind == kind}
        if layers:
            found.append(_space(kind, layers))
    return found


# ------------------------------------------------------------------------------------------------------------- reading


def _group(values) -> tuple[dict[str, dict[str, tuple[str, Any]]], list[str]]:
    """Layer as the file spells it -> part -> (key, value), and the keys that are no part of an adapter."""
    named: dict[str, dict] = {}
    unused = []
    for key, value in values.items():
        found = lora_keys.split(key)
        if found is None:
            unused.append(key)
        else:
            named.setdefault(found[0], {})[found[1]] = (key, value)
    return named, unused


def _absent(kind, keyed) -> list[str]:
    if kind == "low_rank":
        return [part for part in (DOWN, UP) if part not in keyed]
    if kind == "hadamard":
        return [part for part in _HADAMARD if part not in keyed]
    return [
        f"lokr_w{n}"
        for n in (1, 2)
        if f"lokr_w{n}" not in keyed and not {f"lokr_w{n}_a", f"lokr_w{n}_b"} <= set(keyed)
    ]


def _plain(kind, parts, layer) -> dict:
    """Parts in floating point, with one name for magnitudes and without a LoCon kernel of its own."""
    import torch

    flat = [part for part, value in parts.items() if part not in _OPTIONAL and value.ndim not in (2, 3, 4)]
    if flat:
        raise PersonaError(f"layer {layer!r}: {flat[0]} is no matrix; the file is damaged, fetch it again")
    usual = (torch.float16, torch.bfloat16, torch.float32)
    parts = {part: value if value.dtype in usual else value.float() for part, value in parts.items()}
    scale = parts.pop("dora_scale", None)
    if scale is not None:
        by_column = scale.ndim > 1 and scale.shape[0] == 1
        parts[MAGNITUDE] = scale.reshape(1, -1) if by_column else scale.flatten()
    elif MAGNITUDE in parts:
        parts[MAGNITUDE] = parts[MAGNITUDE].flatten()
    if kind == "low_rank":
        down, up = parts[DOWN], parts[UP]
        mid = parts.pop(MID, None)
        inner = down.shape[0] if mid is None else mid.shape[0]
        if up.shape[1] != inner or (mid is not None and (mid.ndim != 4 or mid.shape[1] != len(down))):
            raise PersonaError(
                f"layer {layer!r}: {DOWN} {tuple(down.shape)} and {UP} {tuple(up.shape)} share no rank; "
                "the file is damaged, fetch it again"
            )
        if mid is not None:
            from ..functional.low_rank import compose_kernel

            parts[DOWN] = compose_kernel(down, mid).to(down.dtype)
    return parts


def _split(kind, targets, layer, parts):
    """A fused layer's change as one change a target: its rows of the factor that makes the rows."""
    if len(targets) == 1:
        yield targets[0], scale_first(parts) if targets[0].endswith(f".{bfl.SHIFT_FIRST}") else parts
        return
    tall = {"low_rank": (UP,), "hadamard": ("hada_w1_a", "hada_w2_a")}.get(kind)
    if tall is None or "hada_t1" in parts:
        raise PersonaError(
            f"layer {layer!r} is a fused one, and its {kind} factors cannot be split; convert the file to LoRA"
        )
    sizes = bfl.rows(len(targets), parts[tall[0]].shape[0])
    by_row = [part for part in (*tall, MAGNITUDE) if part in parts and parts[part].shape[0] == sum(sizes)]
    pieces = {part: parts[part].split(sizes) for part in by_row}
    for i, target in enumerate(targets):
        piece = {part: pieces[part][i].clone() if part in by_row else value.clone() for part, value in parts.items()}
        yield target, _without_empty_ranks(piece) if kind == "low_rank" else piece


def _without_empty_ranks(parts):
    """Leaves out the ranks that belong to a fused layer's other parts (their columns of B are zero)."""
    import torch

    used = parts[UP].flatten(2).ne(0).any(dim=0).flatten() if parts[UP].ndim > 2 else parts[UP].ne(0).any(dim=0)
    count = int(used.sum())
    if count in (0, len(used)):
        return parts
    alpha = float(parts.get("alpha", torch.tensor(float(len(used))))) * count / len(used)
    return parts | {DOWN: parts[DOWN][used], UP: parts[UP][:, used].contiguous(), "alpha": torch.tensor(alpha)}


def scale_first(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Swaps the halves of the rows: the original FLUX orders shift and scale the other way round."""
    return parts | {part: parts[part].roll(len(parts[part]) // 2, 0) for part in (UP, MAGNITUDE) if part in parts}


def _with_scaling(kind, path, parts, declared) -> Layer:
    alpha = parts.pop("alpha", None)
    layer = Layer(kind=kind, parts=parts, scaling=1.0)
    inner = rank(parts)
    if alpha is not None:
        if alpha.numel() != 1 or not math.isfinite(float(alpha)):
            raise PersonaError(f"layer {path}: alpha should be one finite number; the file is damaged")
        layer.scaling = float(alpha) / inner if inner else 1.0
    else:
        layer.scaling = _declared_scaling(declared, path, inner)
    if inner is None and layer.scaling != 1.0:
        parts["lokr_w1"], layer.scaling = parts["lokr_w1"] * layer.scaling, 1.0
    return layer


def _declared(metadata, config) -> dict[str, Any]:
    """PEFT's numbers by ``<component>.<name>``, or by name alone when they hold for the whole file."""
    text = metadata.get("lora_adapter_metadata")
    if text is None:
        return dict(config or {})
    try:
        numbers = json.loads(text)
    except ValueError as error:
        raise PersonaError(
            f"metadata 'lora_adapter_metadata' is not valid JSON ({error}); save the file again"
        ) from None
    return numbers if isinstance(numbers, dict) else {}


def _declared_scaling(declared, path, inner) -> float:
    component, _, module = path.partition(".")

    def number(name):
        return declared.get(f"{component}.{name}", declared.get(name))

    alpha = number("lora_alpha") if number("lora_alpha") is not None else number("alpha")
    for pattern, value in (number("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module) or re.match(rf"(.*\.)?({pattern})$", f"text_model.{module}"):
            alpha = value
            break
    inner = inner or number("r")
    if alpha is None or not inner:
        return 1.0
    return float(alpha) / (math.sqrt(inner) if number("use_rslora") else inner)


def _name_by_diffusers(adapter, unet):
    """Original UNet names to diffusers', where the UNet is known or a released one; else the host finds the layers."""
    if unet is None and not set(WIDTHS) & widths_of({k: v.parts for k, v in adapter.layers.items()}, TEXT_LAYERS):
        return
    for path in [path for path in adapter.layers if path.startswith("unet.") and ldm.is_ldm(path[5:])]:
        inner = ldm.to_diffusers(path[5:]) if unet is None else ldm.of_config(path[5:], unet)
        if f"unet.{inner}" in adapter.layers:
            raise PersonaError(
                f"the file changes layer unet.{inner} twice, in two ways of naming it; keep one of them"
            )
        adapter.layers[f"unet.{inner}"] = adapter.layers.pop(path)


# ------------------------------------------------------------------------------------------------------------- spaces


def _space(kind, layers):
    import torch

    from ..spaces import KINDS

    ranks = collections.Counter(inner for inner in (rank(layer.parts) for layer in layers.values()) if inner)
    usual = ranks.most_common(1)[0][0] if ranks else 1
    scalings = {layer.scaling for layer in layers.values()}
    uniform = len(ranks) == 1 and len(scalings) == 1
    declared = {
        "rank": usual,
        "alpha": usual * scalings.pop() if uniform and scalings != {1.0} else None,
        "targets": tuple(sorted({ending(path) for path in layers if not path.startswith("text_encoder")})),
        "text_encoders": any(path.startswith("text_encoder") for path in layers),
    }
    if kind == "low_rank":
        declared["dora"] = any(MAGNITUDE in layer.parts for layer in layers.values())
    tensors = {f"{path}.{part}": value for path, layer in layers.items() for part, value in layer.parts.items()}
    if not uniform:
        tensors |= {
            f"{path}.alpha": torch.tensor(layer.scaling * rank(layer.parts))
            for path, layer in layers.items()
            if layer.scaling != 1.0
        }
    return KINDS[kind](**declared), tensors


def facts(infos: Mapping[str, Any], metadata: Mapping[str, str]) -> dict[str, Any]:
    """What to show of a file: ranks, layers, components, base model.

    Args:
        infos: key -> anything with a ``shape``.
        metadata: the file's own.
    """
    named, unused = _group(infos)
    layers = {
        path: {part: info for part, (_, info) in keyed.items()}
        for layer, keyed in named.items()
        for path in lora_keys.resolve(layer)
    }
    ranks = sorted({inner for inner in map(rank, layers.values()) if inner})
    return {
        "rank": ", ".join(map(str, ranks)) or None,
        "layers": len(layers),
        "components": ", ".join(sorted({path.partition(".")[0] for path in layers})),
        "layers with alpha": sum("alpha" in parts for parts in layers.values()) or None,
        "with magnitudes (DoRA)": sum(bool({"dora_scale", MAGNITUDE} & set(parts)) for parts in layers.values())
        or None,
        "keys of no layer": len(unused) or None,
        "for": family(layers, metadata)[1],
    }
