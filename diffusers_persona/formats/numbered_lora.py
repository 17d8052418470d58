"""LoRA files of the first scripts (cloneofsimo/lora), as MagiCapture writes them: layers by number, words beside them.

The numbers count a module walk of the diffusers of that time. Only SD 1.x and 2.x UNets were served, whose layers are
known; the widths in the file must agree with the order.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..errors import PersonaError
from . import adapters, text_embeddings
from .base import Format, Hints, Loaded
from .bundles import join, renamed
from .contents import Contents

KEY = re.compile(r"(?P<component>unet|text_encoder):(?P<number>\d+):(?P<part>up|down)")
_PLACES = (
    *((f"down_blocks.{i}.attentions.{j}", 320 * 2**i) for i in range(3) for j in range(2)),
    *((f"up_blocks.{i}.attentions.{j}", 320 * 2 ** (3 - i)) for i in range(1, 4) for j in range(3)),
    ("mid_block.attentions.0", 1280),
)
"""Transformers of the UNet in the order of its module walk -> width."""
_ATTENTION, _FEED_FORWARD = ("CrossAttention", "Attention"), ("GEGLU",)
_TEXT = ("k_proj", "v_proj", "q_proj", "out_proj")


def _unet_layers(classes: list[str]) -> list[tuple[str, int | None]]:
    """Path of each layer by number, and its number of inputs where that does not depend on the text."""
    attention, feed_forward = bool({*_ATTENTION} & {*classes}), bool({*_FEED_FORWARD} & {*classes})
    layers: list[tuple[str, int | None]] = []
    for place, width in _PLACES:
        block = f"{place}.transformer_blocks.0"
        if attention:
            layers += [(f"{block}.attn1.{name}", width) for name in ("to_q", "to_k", "to_v", "to_out.0")]
        if feed_forward:
            layers.append((f"{block}.ff.net.0.proj", width))
        if attention:
            layers += [(f"{block}.attn2.to_q", width), (f"{block}.attn2.to_k", None), (f"{block}.attn2.to_v", None)]
            layers.append((f"{block}.attn2.to_out.0", width))
    return layers


def _names(contents: Contents) -> dict[str, str]:
    """Key in diffusers' spelling -> key here.

    Raises:
        PersonaError: naming the key whose width does not fit its place in the walk.
    """
    layers, found = _unet_layers(_classes(contents)), {}
    for key, info in contents.infos.items():
        match = KEY.fullmatch(key)
        if match is None:
            continue
        number, part = int(match["number"]), match["part"]
        if match["component"] == "text_encoder":
            path = f"text_model.encoder.layers.{number // 4}.self_attn.{_TEXT[number % 4]}"
        else:
            path, width = layers[number] if number < len(layers) else ("", 0)
            if not path or (part == "down" and width not in (None, info.shape[-1])):
                raise PersonaError(
                    f"{contents.path}: key {key!r} (shape {list(info.shape)}) does not fit layer {number} of an SD "
                    f"1.x or 2.x UNet ({path or 'there is none'}); convert the file with the script that wrote it"
                )
        found[f"{match['component']}.{path}.lora.{part}.weight"] = key
    return found


def _classes(contents: Contents) -> list[str]:
    """Names of the module classes whose layers the file holds; by default those of the scripts' default."""
    try:
        classes = json.loads(contents.metadata.get("unet", "null"))
    except (ValueError, RecursionError):
        classes = None
    stated = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return classes if stated else [*_ATTENTION, *_FEED_FORWARD]


def load(contents: Contents, hints: Hints) -> Loaded:
    """The LoRA and the words of the file as one concept."""
    names = _names(contents)
    loaded = adapters.load(contents.part(names), hints)
    words = {key: key for key in contents.infos if KEY.fullmatch(key) is None}
    parts = [renamed(loaded, names)]
    return join([*parts, text_embeddings.load(contents.part(words), hints)] if words else parts)


def _facts(contents: Contents) -> dict[str, Any]:
    words = [key for key in contents.infos if KEY.fullmatch(key) is None]
    ranks = {info.shape[0] for key, info in contents.infos.items() if key.endswith(":down")}
    return {"rank": ", ".join(map(str, sorted(ranks))), "words": ", ".join(words) or None}


FORMATS = (
    Format(
        kind="lora",
        title="LoRA with numbered layers (cloneofsimo/lora, MagiCapture)",
        layout="`unet:<n>:up`, `unet:<n>:down`, `text_encoder:<n>:up|down` in the order of a module walk, words under "
        "their own names `[d]`",
        recognise=lambda contents: any(KEY.fullmatch(key) for key in contents.infos),
        load=load,
        facts=_facts,
    ),
)
