"""ViCo's files: the image cross-attention blocks under the names of the original Stable Diffusion code.

The word lies in a file of Textual Inversion's beside it. No file holds the reference picture: it is given by
`schemes.with_reference`.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from . import ldm
from .base import Format, Hints, Loaded, LoadReport

if TYPE_CHECKING:
    from .contents import Contents

FILE = "cross_attention.pt"
KIND = "image_attention"
_KEY = re.compile(r"^(?:model\.)?(?:diffusion_model\.)?(?P<stack>.+?)\.image_cross_attention\.(?P<name>.+)$")


def is_image_attention(contents: Contents) -> bool:
    """Whether every key is of an image cross-attention block."""
    return bool(contents.infos) and all(_KEY.match(key) for key in contents.infos)


def load(contents: Contents, hints: Hints) -> Loaded:
    """The blocks as a space of their own; the names are those of Stable Diffusion, or of the base pipeline's UNet."""
    from ..spaces import ImageAttention

    config = getattr(getattr(hints.base, "unet", None), "config", None)
    tensors: dict[str, Any] = {}
    for key, tensor in contents.tensors.items():
        found = _KEY.match(key)
        assert found is not None
        stack = found["stack"]
        stack = ldm.to_diffusers(stack) if config is None else ldm.of_config(stack, config)
        tensors[f"0.{KIND}.{stack}.transformer_blocks.0.{found['name']}"] = tensor.float()
    space = ImageAttention(token=hints.tokens[0] if hints.tokens else None)
    report = LoadReport(matched=tuple(contents.infos))
    return Loaded(spaces=[space], tensors=tensors, report=report, token=space.token, family="sd")


def save(concept, *, pipe=None, **wishes) -> dict[str, bytes] | None:
    """The official file; a denoiser of unusual depth is told by `pipe`."""
    import torch

    config = getattr(getattr(pipe, "unet", None), "config", None)
    shape = () if config is None else (config.layers_per_block, len(config.down_block_types))
    content = {}
    for i, space in enumerate(concept.spaces):
        for key, tensor in concept.tensors_of(i).items() if space.kind == KIND else ():
            stack, between, rest = key.partition(".transformer_blocks.0.")
            if between:
                name = ldm.from_diffusers(f"{stack}.", *shape).rstrip(".")
                content[f"diffusion_model.{name}.image_cross_attention.{rest}"] = tensor.contiguous()
    if not content:
        return None
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return {FILE: buffer.getvalue()}


def facts(contents: Contents) -> dict[str, Any]:
    """How many blocks there are."""
    return {"image attention blocks": len({_KEY.match(key)["stack"] for key in contents.infos})}  # type: ignore[index]


FORMATS = (
    Format(
        kind="image-attention",
        title="ViCo image cross-attention (official code)",
        layout="`diffusion_model.output_blocks.<n>.1.image_cross_attention.{attn1,attn2,ff,norm1,norm2,norm3}.*`; the "
        "word is a file of its own (`embeddings_gs-<n>.pt`), the reference picture is none",
        recognise=is_image_attention,
        load=load,
        save=save,
        writes=("original",),
        holds=(KIND,),
        suffixes=(".pt",),
        facts=facts,
        next_step="Concept.from_file(folder with both files), then schemes.with_reference(concept, pipe, picture)",
    ),
)
