"""Image and face adapters in the layouts of their releases: recognised and described; they are no concepts.

An adapter turns any picture into extra tokens of the attention; a concept is one learned thing. What is told here
comes from keys and shapes alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .base import Format
from .contents import Contents

_IMAGE_WIDTHS = {
    1024: "CLIP ViT-H/14, image embedding",
    1280: "CLIP ViT-H/14, hidden states (or ViT-bigG/14, image embedding)",
    1664: "CLIP ViT-bigG/14, hidden states",
    768: "CLIP ViT-L/14",
    1152: "SigLIP",
    512: "ArcFace identity",
}
_TEXT_WIDTHS = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 4096: "FLUX", 3072: "FLUX", 1536: "SD 3", 2432: "SD 3.5"}
_KEY = re.compile(r"(^|\.)ip_adapter\..*to_k_ip\.(0\.)?weight$")


def _side(contents: Contents, ending: str, axis: int) -> int | None:
    """Length of a tensor along one axis; its key is or ends with ``.<ending>``. None when there is none."""
    for key, info in contents.infos.items():
        if (key == ending or key.endswith(f".{ending}")) and len(info.shape) >= (axis + 1 if axis >= 0 else -axis):
            return info.shape[axis]
    return None


def _text_width(contents: Contents) -> int | None:
    """Width of the tokens that the adapter's keys are made from."""
    return next((i.shape[-1] for key, i in contents.infos.items() if _KEY.search(key) and len(i.shape) == 2), None)


def _facts(contents: Contents, tokens: int | None, width: int | None) -> dict[str, Any]:
    text = _text_width(contents)
    lora = any(re.search(r"_lora\.(down|up)\.weight$", name) for name in contents.infos)
    layers = sum(bool(_KEY.search(name)) for name in contents.infos)
    return {
        "tokens": tokens,
        "encoder width": width,
        "encoder": _IMAGE_WIDTHS.get(width or 0),
        "adapter's token width": text,
        "for": _TEXT_WIDTHS.get(text or 0),
        "attention layers": layers or None,
        "LoRA inside": lora or None,
    }


def _tokens(contents: Contents, projection: str, norm: str) -> int | None:
    """Rows of the last projection in widths of a token."""
    rows, text = _side(contents, projection, 0), _side(contents, norm, 0) or _text_width(contents)
    return rows // text if rows and text else None


def _linear(contents):
    """proj [tokens x text width, encoder width], norm [text width]."""
    tokens = _tokens(contents, "image_proj.proj.weight", "image_proj.norm.weight")
    return _facts(contents, tokens, _side(contents, "image_proj.proj.weight", -1))


def _resampler(contents):
    """latents [1, tokens, d], proj_in [d, encoder width]."""
    tokens, width = _side(contents, "image_proj.latents", -2), _side(contents, "image_proj.proj_in.weight", -1)
    return _facts(contents, tokens, width)


def _mlp(contents):
    """proj.0 [.., encoder width], proj.2 [tokens x text width, ..], norm [text width]."""
    tokens = _tokens(contents, "image_proj.proj.2.weight", "image_proj.norm.weight")
    return _facts(contents, tokens, _side(contents, "image_proj.proj.0.weight", -1))


def _full(contents):
    """proj.0 [encoder width, encoder width]: every patch of the picture is a token."""
    return _facts(contents, 257, _side(contents, "image_proj.proj.0.weight", -1))


def _xlabs(contents):
    """ip_adapter_proj_model.proj [tokens x 4096, encoder width]."""
    tokens = _tokens(contents, "ip_adapter_proj_model.proj.weight", "ip_adapter_proj_model.norm.weight")
    layers = sum("ip_adapter_double_stream_k_proj.weight" in key for key in contents.infos)
    found = _facts(contents, tokens, _side(contents, "ip_adapter_proj_model.proj.weight", -1))
    return found | {"for": "FLUX", "attention layers": layers or None}


def _photomaker(contents):
    lora = sum("lora_weights." in key for key in contents.infos)
    second = "PhotoMaker-V2" if _has(r"id_encoder\.qformer_perceiver\.")(contents) else "PhotoMaker-V1"
    tokens = 1 if second.endswith("1") else 2
    return {"release": second, "tokens": tokens, "encoder": "CLIP ViT-L/14", "LoRA keys": lora or None, "for": "SDXL"}


def _pulid(contents):
    flux = _has(r"pulid_(ca|encoder)")(contents)
    layers = {re.sub(r"\.(id_to_k|id_to_v)\.weight$", "", key) for key in contents.infos if "id_to_" in key}
    return {
        "encoder": "ArcFace identity and EVA-CLIP",
        "encoder width": 512,
        "attention layers": len(layers) or None,
        "for": "FLUX" if flux else "SDXL",
    }


def _has(*patterns: str, not_: str | None = None, when: Callable[[Contents], bool] | None = None):
    """Contents with a key for each of `patterns`, none for `not_`, and true for `when`."""

    def recognise(contents: Contents) -> bool:
        names = list(contents.infos)
        found = all(any(re.search(pattern, name) for name in names) for pattern in patterns)
        absent = not_ is None or not any(re.search(not_, name) for name in names)
        return found and absent and (when is None or when(contents))

    return recognise


def _adapter(kind, title, layout, recognise, facts, step="pipe.load_ip_adapter(...) in diffusers") -> Format:
    return Format(
        kind=kind,
        title=title,
        layout=layout,
        recognise=recognise,
        facts=facts,
        refusal="an adapter for any picture, not a concept: it cannot be attached as one",
        next_step=f"use {step}",
    )


_OWN = "its authors' pipeline"
_PROJ = r"(^|\.)image_proj\."
_IP = r"(^|\.)ip_adapter\."
FORMATS = (
    _adapter(
        "photomaker",
        "PhotoMaker (identity encoder and LoRA)",
        "`id_encoder.*`, `lora_weights.*`; version 2 has `id_encoder.qformer_perceiver.*`",
        _has(r"^id_encoder\."),
        _photomaker,
        _OWN,
    ),
    _adapter(
        "pulid",
        "PuLID (identity adapter)",
        "`id_adapter.*` and `id_adapter_attn_layers.<n>.id_to_k.weight` for SDXL, "
        "`pulid_encoder.*`, `pulid_ca.*` for FLUX",
        _has(r"^(id_adapter(_attn_layers)?|pulid_encoder|pulid_ca)\."),
        _pulid,
        _OWN,
    ),
    _adapter(
        "ip-adapter",
        "IP-Adapter for FLUX (XLabs)",
        "`double_blocks.<n>.processor.ip_adapter_double_stream_k_proj.weight`, `ip_adapter_proj_model.proj.weight`",
        _has(r"ip_adapter_double_stream_k_proj"),
        _xlabs,
    ),
    _adapter(
        "ip-adapter",
        "IP-Adapter for SD 3",
        "`image_proj.time_embedding.*`, `image_proj.latents`, `ip_adapter.<n>.norm_ip.linear.weight`",
        _has(_IP, rf"{_PROJ}(latents|layers)", r"norm_ip\.linear|image_proj\.time_embedding\."),
        _resampler,
    ),
    _adapter(
        "instantid",
        "InstantID (identity adapter)",
        "as IP-Adapter Plus, with `image_proj.proj_in.weight` [1280, 512] for ArcFace identities",
        _has(_IP, rf"{_PROJ}latents$", when=lambda contents: _side(contents, "image_proj.proj_in.weight", -1) == 512),
        _resampler,
        "diffusers' community pipeline pipeline_stable_diffusion_xl_instantid",
    ),
    _adapter(
        "ip-adapter",
        "IP-Adapter FaceID Plus (version 1 or 2: one layout)",
        "`image_proj.proj.0.weight`, `image_proj.perceiver_resampler.*`, `ip_adapter.<n>.to_q_lora.down.weight`",
        _has(_IP, rf"{_PROJ}perceiver_resampler\."),
        _mlp,
    ),
    _adapter(
        "ip-adapter",
        "IP-Adapter Full Face",
        "`image_proj.proj.0.weight`, `image_proj.proj.2.weight`, `image_proj.proj.3.weight`",
        _has(_IP, rf"{_PROJ}proj\.3\.weight$"),
        _full,
    ),
    _adapter(
        "ip-adapter",
        "IP-Adapter for FLUX (InstantX)",
        "as IP-Adapter FaceID, with `ip_adapter.<n>.to_k_ip.weight` [3072, 4096]",
        _has(_IP, rf"{_PROJ}proj\.(0\.)?weight$", when=lambda contents: _text_width(contents) == 4096),
        _mlp,
    ),
    _adapter(
        "ip-adapter",
        "IP-Adapter FaceID",
        "`image_proj.proj.0.weight` [.., 512], `image_proj.proj.2.weight`, `image_proj.norm.weight`; LoRA keys beside",
        _has(_IP, rf"{_PROJ}proj\.0\.weight$"),
        _mlp,
    ),
    _adapter(
        "ip-adapter",
        "IP-Adapter Plus (or Plus Face: one layout)",
        "`image_proj.latents` [1, tokens, d], `image_proj.proj_in.weight`, `image_proj.layers.*`",
        _has(_IP, rf"{_PROJ}latents$"),
        _resampler,
    ),
    _adapter(
        "ip-adapter",
        "IP-Adapter SDXL",
        "as the plain IP-Adapter, with `ip_adapter.1.to_k_ip.weight` [.., 2048]",
        _has(_IP, rf"{_PROJ}proj\.weight$", when=lambda contents: _text_width(contents) == 2048),
        _linear,
    ),
    _adapter(
        "ip-adapter",
        "IP-Adapter",
        "`image_proj.proj.weight` [tokens x d, encoder width], `image_proj.norm.weight` [d], "
        "`ip_adapter.1.to_k_ip.weight`",
        _has(_IP, rf"{_PROJ}proj\.weight$"),
        _linear,
    ),
    _adapter(
        "ip-adapter",
        "IP-Adapter of an unknown release",
        "`image_proj.*`, `ip_adapter.*`",
        _has(_IP, _PROJ),
        lambda contents: _facts(contents, None, None),
    ),
)
