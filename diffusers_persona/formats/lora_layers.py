"""The layers of an adapter's file, whatever its layout: their factors and scaling, and the base model they tell of."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

DOWN, UP, MID, MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_mid.weight", "lora_magnitude_vector"
WIDTHS = {768: ("sd", "SD 1.x"), 1024: ("sd", "SD 2.x"), 2048: ("sdxl", "SDXL")}
_FLUX_WIDTH = 3072
TEXT_LAYERS = r"attn2\.to_[kv]$"
_STATED = (  # words of metadata -> family, base model
    ("flux", "flux", "FLUX"),
    ("xl", "sdxl", "SDXL"),
    ("sd3", "sd3", "SD 3"),
    ("sd_v3", "sd3", "SD 3"),
    ("sd_v2", "sd", "SD 2.x"),
    ("sd_v1", "sd", "SD 1.x"),
)


@dataclasses.dataclass(kw_only=True)
class Layer:
    """One layer's change: the kind of space, its factors by part, and the number that multiplies their product."""

    kind: str
    parts: dict[str, Tensor]
    scaling: float


@dataclasses.dataclass(kw_only=True)
class Adapter:
    """What a file holds.

    Attributes:
        layers: ``<component>.<module path>`` -> `Layer`.
        family: name of the host family, or None when the file does not tell.
        base: the same in words.
        matched, unused: keys of the file.
        missing: keys that the file should hold, and does not.
    """

    layers: dict[str, Layer]
    family: str | None = None
    base: str | None = None
    matched: list[str]
    unused: list[str]
    missing: list[str]


def rank(parts: Mapping[str, Any]) -> int | None:
    """The inner width of a layer's factors; None when they are whole matrices."""
    lows = (DOWN, "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
    return next((parts[low].shape[0] for low in lows if low in parts and len(parts[low].shape)), None)


def ending(path: str) -> str:
    """The end of a module's name that tells it apart: ``"to_q"``, ``"to_out.0"``."""
    head, _, last = path.rpartition(".")
    return f"{head.rpartition('.')[2]}.{last}" if last.isdigit() else last


def family(layers: Mapping[str, Mapping[str, Any]], metadata: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The host family that layers belong to, and its name in words; (None, None) when nothing tells.

    Args:
        layers: ``<component>.<module path>`` -> part -> anything with a ``shape``.
        metadata: the file's own.
    """
    stated = " ".join(metadata.get(k, "") for k in ("modelspec.architecture", "ss_base_model_version", "base_model"))
    stated = stated.lower().replace("stable-diffusion-", "sd_")
    for word, name, base in _STATED:
        if word in stated:
            return name, base
    if any(path.startswith("transformer.") for path in layers):
        single = any(".single_transformer_blocks." in path for path in layers)
        return ("flux", "FLUX") if single or _FLUX_WIDTH in widths_of(layers, r"\.attn\.to_q$") else (None, None)
    for width in sorted(widths_of(layers, TEXT_LAYERS), reverse=True):
        if width in WIDTHS:
            return WIDTHS[width]
    deep = any(re.search(r"^unet\..*transformer_blocks\.[1-9]", path) for path in layers)
    if deep or any(path.startswith("text_encoder_2.") for path in layers):
        return "sdxl", "SDXL"
    return None, None


def widths_of(layers: Mapping[str, Mapping[str, Any]], pattern: str) -> set[int]:
    """Numbers of input columns of the layers whose name matches `pattern`."""
    wide = [parts.get(DOWN, parts.get("hada_w1_b")) for path, parts in layers.items() if re.search(pattern, path)]
    return {part.shape[1] for part in wide if part is not None and len(part.shape) > 1}
