"""Names of UNet layers in the original Stable Diffusion code (LDM, also SDXL's sgm) and in diffusers.

The original numbers all blocks through (``input_blocks.4.1``); diffusers counts by level. The map follows from the
number of levels and of layers a level, so it is derived, never listed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

ROOTS = ("input_blocks", "middle_block", "output_blocks", "time_embed", "label_emb", "out")
RELEASED_LAYERS, RELEASED_LEVELS = 2, 4  # of every released Stable Diffusion 1.x, 2.x and XL UNet

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_OUTSIDE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def is_ldm(path: str) -> bool:
    """Whether `path`, relative to the UNet, is an original name."""
    return path.partition(".")[0] in ROOTS


def to_diffusers(path: str, layers: int | tuple[int, ...] = RELEASED_LAYERS, levels: int = RELEASED_LEVELS) -> str:
    """The diffusers name of the layer that the original code calls `path`; `path` itself when it has none.

    Args:
        path: relative to the UNet, e.g. ``"input_blocks.1.1.transformer_blocks.0.attn1.to_q"``.
        layers: ``layers_per_block`` of the UNet's config.
        levels: number of its down blocks.
    """
    for ldm, diffusers in _names(layers, levels):
        if path == ldm or path.startswith(ldm + "."):
            rest = path[len(ldm) + 1 :]
            for theirs, ours in _RESNET.items() if ".resnets." in diffusers else ():
                if rest == theirs or rest.startswith(theirs + "."):
                    rest = ours + rest[len(theirs) :]
                    break
            return f"{diffusers}.{rest}" if rest else diffusers
    return path


def from_diffusers(path: str, layers: int | tuple[int, ...] = RELEASED_LAYERS, levels: int = RELEASED_LEVELS) -> str:
    """The original name of a layer inside an attention block; `path` itself when it has none."""
    for ldm, diffusers in _names(layers, levels):
        if ".attentions." in diffusers and path.startswith(diffusers + "."):
            return ldm + path[len(diffusers) :]
    return path


def of_config(path: str, config) -> str:
    """`to_diffusers` for the UNet with this diffusers config."""
    layers = config.layers_per_block
    return to_diffusers(
        path, tuple(layers) if isinstance(layers, (list, tuple)) else layers, len(config.down_block_types)
    )


@functools.lru_cache
def _names(layers, levels) -> tuple[tuple[str, str], ...]:
    counts = (layers,) * levels if isinstance(layers, int) else layers
    return tuple(sorted([*_OUTSIDE.items(), *_blocks(counts)], key=lambda pair: -len(pair[0])))


def _blocks(counts) -> Iterator[tuple[str, str]]:
    for number, block in enumerate(("resnets.0", "attentions.0", "resnets.1")):
        yield f"middle_block.{number}", f"mid_block.{block}"
    number = 1
    for level, count in enumerate(counts):
        for layer in range(count):
            yield f"input_blocks.{number}.0", f"down_blocks.{level}.resnets.{layer}"
            yield f"input_blocks.{number}.1", f"down_blocks.{level}.attentions.{layer}"
            number += 1
        yield f"input_blocks.{number}.0.op", f"down_blocks.{level}.downsamplers.0.conv"
        number += 1
    number = 0
    for level, count in enumerate(reversed(counts)):
        for layer in range(count + 1):
            yield f"output_blocks.{number}.0", f"up_blocks.{level}.resnets.{layer}"
            yield f"output_blocks.{number}.1", f"up_blocks.{level}.attentions.{layer}"
            for position in (1, 2):
                yield f"output_blocks.{number}.{position}.conv", f"up_blocks.{level}.upsamplers.0.conv"
            number += 1
