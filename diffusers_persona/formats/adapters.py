"""The layouts of LoRA, LoHa and LoKr files: one way to read them all, and one writer for each layout in use."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import lora, lora_keys, lora_layers, lora_save
from .base import Format, Hints, Loaded, LoadReport

if TYPE_CHECKING:
    from .contents import Contents


def load(contents: Contents, hints: Hints) -> Loaded:
    """A file of factorised weight changes, in whatever layout.

    Raises:
        PersonaError: when factors do not fit each other, or two sets of keys change the same layer.
    """
    peft = any(_PEFT.search(key) for key in contents.infos)
    adapter = lora.read(
        contents.tensors,
        metadata=contents.metadata,
        numbers={
            key: v for key, v in contents.extra.items() if key.endswith(".alpha") and isinstance(v, (int, float))
        },
        config=contents.beside(lora_save.PEFT_CONFIG) if peft else None,
        unet=getattr(getattr(hints.base, "unet", None), "config", None),
    )
    spaces = lora.spaces(adapter)
    tensors = {f"{i}.{s.kind}.{name}": t for i, (s, named) in enumerate(spaces) for name, t in named.items()}
    metadata = contents.metadata
    return Loaded(
        spaces=[space for space, _ in spaces],
        tensors=tensors,
        report=LoadReport(
            matched=tuple(adapter.matched), unused=tuple(adapter.unused), missing=tuple(adapter.missing)
        ),
        family=adapter.family,
        licence=metadata.get("modelspec.license", metadata.get("license")),
    )


def facts(contents: Contents) -> dict:
    """Ranks, layers, components and base model of a file, from its keys and shapes."""
    return lora.facts(contents.infos, contents.metadata)


def _layers(concept, kinds, pipe):
    """A space of one of these kinds and the layers of all that are in use; (None, {}) when the concept has none."""
    unet = getattr(getattr(pipe, "unet", None), "config", None)
    spaces = [(i, s) for i, s in enumerate(concept.spaces) if s.kind in kinds and getattr(s, "used", True)]
    each = [lora_save.layers_of(space, concept.tensors_of(i), unet) for i, space in spaces]
    if len(each) < 2 and not (each and spaces[0][1].kind == "low_rank" and spaces[0][1].rank < 1):
        return (spaces[0][1], each[0]) if each else (None, {})
    return lora_save.together(spaces[0][1], each)


def _save_diffusers(concept, *, pipe=None, **wishes):
    space, layers = _layers(concept, ("low_rank",), pipe)
    return {lora_save.LORA_FILE: lora_save.diffusers(space, layers)} if layers else None


def _save_peft(concept, *, pipe=None, **wishes):
    space, layers = _layers(concept, ("low_rank",), pipe)
    return lora_save.peft(space, layers) if layers else None


def _save_kohya(name: str, kind: str) -> Callable:
    def save(concept, *, pipe=None, **wishes):
        _, layers = _layers(concept, (kind,), pipe)
        return {f"{name}.safetensors": lora_save.kohya(layers)} if layers else None

    return save


# ------------------------------------------------------------------------------------------------------------- layouts

_PEFT = re.compile(r"^base_model\.model\.")


def _having(*parts: str, key: str = "") -> Callable[[Contents], bool]:
    """Contents with all `parts` of an adapter, in keys that match `key`."""

    def recognise(contents):
        found = [lora_keys.split(name) for name in contents.infos if re.search(key, name)]
        return set(parts) <= {part for each in found if each for part in (each[1],)}

    return recognise


_PAIR = (lora_layers.DOWN, lora_layers.UP)
FORMATS = (
    Format(
        kind="loha",
        title="LoHa (LyCORIS)",
        layout="`lora_unet_<layer>.hada_w1_a`, `.hada_w1_b`, `.hada_w2_a`, `.hada_w2_b` (`.hada_t1`, "
        "`.hada_t2`), `.alpha`",
        recognise=_having("hada_w1_a"),
        load=load,
        save=_save_kohya("lycoris_loha", "hadamard"),
        writes=("lycoris", "kohya", "a1111"),
        holds=("hadamard",),
        facts=facts,
    ),
    Format(
        kind="lokr",
        title="LoKr (LyCORIS)",
        layout="`lora_unet_<layer>.lokr_w1` or `.lokr_w1_a` and `.lokr_w1_b`, the same for `w2` "
        "(`.lokr_t2`), `.alpha`",
        recognise=lambda contents: any(re.search(r"\.lokr_w1(_a)?\b", key) for key in contents.infos),
        load=load,
        save=_save_kohya("lycoris_lokr", "kronecker"),
        writes=("lycoris", "kohya", "a1111"),
        holds=("kronecker",),
        facts=facts,
    ),
    Format(
        kind="lora",
        title="FLUX LoRA in the original's names (kohya or XLabs keys)",
        layout="`lora_unet_double_blocks_<n>_img_attn_qkv.lora_down.weight`, `single_blocks`, query, key, value "
        "fused; XLabs: `double_blocks.<n>.processor.qkv_lora1.down.weight`",
        recognise=_having(*_PAIR, key=r"(double|single)_blocks[._]\d+"),
        load=load,
        facts=facts,
    ),
    Format(
        kind="lora",
        title="LoRA (kohya keys)",
        layout="`lora_unet_<layer>.lora_down.weight`, `.lora_up.weight` (`.lora_mid.weight`, `.dora_scale`), `.alpha`"
        "; `lora_te_`, `lora_te1_`, `lora_te2_`; layers in diffusers' names or the original's (`input_blocks_1_1_`)",
        recognise=_having(*_PAIR, key=r"(^|\.)lora_(unet|te\d?|transformer)_"),
        load=load,
        save=_save_kohya("lora", "low_rank"),
        writes=("kohya", "a1111"),
        holds=("low_rank",),
        facts=facts,
    ),
    Format(
        kind="lora",
        title="LoRA (PEFT folder)",
        layout="`adapter_config.json` beside `adapter_model.safetensors`, `base_model.model.<layer>.lora_A.weight`",
        recognise=_having(*_PAIR, key=_PEFT.pattern),
        load=load,
        save=_save_peft,
        writes=("peft",),
        holds=("low_rank",),
        facts=facts,
    ),
    Format(
        kind="lora",
        title="LoRA (PEFT keys)",
        layout="`unet.<layer>.lora_A.weight`, `.lora_B.weight` (`.lora_magnitude_vector`), `text_encoder.`, "
        "`text_encoder_2.`, `transformer.`; alphas in the metadata `lora_adapter_metadata`",
        recognise=_having(*_PAIR, key=r"lora_[AB]\b"),
        load=load,
        save=_save_diffusers,
        writes=("diffusers",),
        holds=("low_rank",),
        facts=facts,
    ),
    Format(
        kind="lora",
        title="LoRA (older diffusers keys)",
        layout="`unet.<layer>.lora.down.weight`, `<layer>.processor.to_q_lora.down.weight`, "
        "`text_encoder.<layer>.lora_linear_layer.down.weight`",
        recognise=_having(*_PAIR),
        load=load,
        facts=facts,
    ),
)
