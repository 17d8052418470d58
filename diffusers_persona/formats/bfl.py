"""Names of FLUX layers in the original code (Black Forest Labs, also kohya's) and in diffusers.

The original keeps query, key and value in one fused layer; diffusers has one layer each.
"""

from __future__ import annotations

import re

ROOTS = (
    "double_blocks",
    "single_blocks",
    "final_layer",
    "img_in",
    "txt_in",
    "time_in",
    "vector_in",
    "guidance_in",
)
MLP_RATIO = 4  # the hidden width of a single block's feed-forward network, in widths of the model

_STREAMS = {
    "img": {
        "attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "attn.proj": ("attn.to_out.0",),
        "mlp.0": ("ff.net.0.proj",),
        "mlp.2": ("ff.net.2",),
        "mod.lin": ("norm1.linear",),
    },
    "txt": {
        "attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        "attn.proj": ("attn.to_add_out",),
        "mlp.0": ("ff_context.net.0.proj",),
        "mlp.2": ("ff_context.net.2",),
        "mod.lin": ("norm1_context.linear",),
    },
}
_BLOCKS = {
    **{
        ("double_blocks", "transformer_blocks", f"{stream}_{theirs}"): ours
        for stream, parts in _STREAMS.items()
        for theirs, ours in parts.items()
    },
    ("single_blocks", "single_transformer_blocks", "linear1"): ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    ("single_blocks", "single_transformer_blocks", "linear2"): ("proj_out",),
    ("single_blocks", "single_transformer_blocks", "modulation.lin"): ("norm.linear",),
    # XLabs trains the attention's part of the fused layers alone.
    ("single_blocks", "single_transformer_blocks", "attn.qkv"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("single_blocks", "single_transformer_blocks", "attn.proj"): ("proj_out",),
}
_OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    **{
        f"{theirs}.{layer}": f"time_text_embed.{ours}.{linear}"
        for theirs, ours in (
            ("time_in", "timestep_embedder"),
            ("vector_in", "text_embedder"),
            ("guidance_in", "guidance_embedder"),
        )
        for layer, linear in (("in_layer", "linear_1"), ("out_layer", "linear_2"))
    },
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
SHIFT_FIRST = "norm_out.linear"  # the original orders shift, scale; diffusers scale, shift


def is_bfl(path: str) -> bool:
    """Whether `path`, relative to the transformer, is an original name."""
    return path.partition(".")[0] in ROOTS


def to_diffusers(path: str) -> tuple[str, ...]:
    """The diffusers layers that the original layer `path` holds, in the order of its rows; empty when unknown."""
    if path in _OUTSIDE:
        return (_OUTSIDE[path],)
    for (theirs, ours, part), layers in _BLOCKS.items():
        found = re.fullmatch(rf"{theirs}\.(\d+)\.{re.escape(part)}", path)
        if found:
            return tuple(f"{ours}.{found[1]}.{layer}" for layer in layers)
    return ()


def from_diffusers(path: str) -> tuple[str, int] | None:
    """The original layer that holds the diffusers layer `path`, and its place in there; None when unknown."""
    for theirs, ours in _OUTSIDE.items():
        if path == ours:
            return theirs, 0
    for (theirs, ours, part), layers in _BLOCKS.items():
        found = re.fullmatch(rf"{ours}\.(\d+)\.(.+)", path)
        if found and found[2] in layers:
            return f"{theirs}.{found[1]}.{part}", layers.index(found[2])
    return None


def rows(count: int, total: int) -> list[int]:
    """Rows of each of `count` layers in a fused one of `total` rows: equal, with the feed-forward part last."""
    if count < 4:
        return [total // count] * count
    width = total // (3 + MLP_RATIO)
    return [width, width, width, total - 3 * width]
