"""Weight formats that are told by their keys alone and named, but are no concept: nothing is loaded from them."""

from __future__ import annotations

import re
from collections.abc import Callable

from .base import Format
from .contents import Contents


def by_keys(*patterns: str, every: bool = False) -> Callable[[Contents], bool]:
    """A `Format.recognise`: each expression is found in some key; with `every`, each key matches one of them."""
    compiled = [re.compile(pattern) for pattern in patterns]

    def recognise(contents: Contents) -> bool:
        names = contents.infos
        if every:
            return bool(names) and all(any(pattern.search(name) for pattern in compiled) for name in names)
        return all(any(pattern.search(name) for name in names) for pattern in compiled)

    return recognise


_PIPE_STEP = "DiffusionPipeline.from_pretrained(...) or from_single_file(...) in diffusers"
_PART = "it is a part of a base model, not a concept"
OWN = (
    Format(
        kind="concept-tensors",
        title="tensors of a concept (their header is concept.json beside them)",
        layout="`<index>.<space>.<name>`",
        recognise=by_keys(r"^\d+\.[a-z_]+\.\w", every=True),
        refusal="its header is the concept.json beside it",
        next_step="give the folder that it belongs to",
    ),
)
FORMATS = (
    Format(
        kind="oft",
        title="OFT (kohya, LyCORIS)",
        layout="`oft_blocks`, `oft_diag`, `oft_r`",
        recognise=by_keys(r"oft_(blocks|diag|r)\b"),
        refusal="it turns the outputs of layers; only files that turn inputs are loaded",
        next_step="give a file of the official code or of PEFT",
    ),
    Format(
        kind="single-file",
        title="original Stable Diffusion checkpoint",
        layout="`model.diffusion_model.*`",
        recognise=by_keys(r"^(state_dict\.)?model\.diffusion_model\."),
        refusal="it is a whole base model, not a concept",
        next_step=_PIPE_STEP,
    ),
    Format(
        kind="controlnet",
        title="ControlNet",
        layout="`controlnet_cond_embedding.*`",
        recognise=by_keys(r"^controlnet_cond_embedding\."),
        refusal="it controls a layout, it is no concept",
        next_step="ControlNetModel.from_pretrained(...)",
    ),
    Format(
        kind="vae",
        title="autoencoder weights",
        layout="`encoder.*`, `decoder.*`",
        recognise=by_keys(r"^(encoder|decoder)\.(conv_in|mid_block)\."),
        refusal=_PART,
        next_step=_PIPE_STEP,
    ),
    Format(
        kind="text-encoder",
        title="CLIP text encoder weights",
        layout="`embeddings.token_embedding.weight`",
        recognise=by_keys(r"embeddings\.token_embedding\.weight$"),
        refusal=_PART,
        next_step=_PIPE_STEP,
    ),
)
