"""Perfusion: checkpoints of ChenDarYen's port, in the names of the original UNet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError
from . import ldm
from .base import Format, Hints, Loaded, LoadReport
from .signatures import by_keys

if TYPE_CHECKING:
    from .contents import Contents

_OUTPUT = re.compile(r"^(?:target_output\.)?(?P<layer>.+\.attn2)\.(?P<part>to_[kv])\.target_output$")
_WORD = re.compile(r"^embedding\.string_to_param\.(?P<word>.+)$")
_NEEDED = ("target_input", "C_inv")


def load(contents: Contents, hints: Hints) -> Loaded:
    """The word, i*, C^-1 i*, and the outputs of keys and values, here one for each position of the text.

    Raises:
        PersonaError: when the checkpoint lacks i* or C^-1, or they do not fit.
    """
    from ..spaces import RankOne, Word

    tensors = contents.tensors
    missing = [name for name in _NEEDED if name not in tensors]
    if missing or tensors["C_inv"].shape != tensors["target_input"].shape * 2:
        raise PersonaError(
            f"{contents.path}: {', '.join(missing) or 'C_inv'} is missing or of another shape than [d, d] for "
            "target_input [d]; fetch the checkpoint again"
        )
    target, inverse = tensors["target_input"].float(), tensors["C_inv"].float()
    unet = getattr(getattr(hints.base, "unet", None), "config", None)
    found, matched = {"input": target, "direction": inverse @ target}, list(_NEEDED)
    spaces, words = [], {}
    for key, tensor in tensors.items():
        if (output := _OUTPUT.match(key)) is not None:
            layer = output["layer"]
            name = layer if unet is None or not ldm.is_ldm(layer) else ldm.of_config(layer, unet)
            found[f"unet.{name}.{output['part']}.output"] = tensor.float()
            matched.append(key)
        elif (word := _WORD.match(key)) is not None:
            rows = tensor.reshape(-1, tensor.shape[-1]).float()
            words[f"{len(spaces)}.word.text_encoder.embedding"] = rows
            token = hints.tokens[len(spaces)] if len(hints.tokens) > len(spaces) else f"<{word['word'].strip('<>*')}>"
            spaces.append(Word(vectors=len(rows), token=token if token != "<>" else "<concept>"))
            matched.append(key)
        elif key.startswith("embedding.string_to_token.") or key.endswith("target_input"):
            matched.append(key)
    prefix = f"{len(spaces)}.rank_one."
    return Loaded(
        spaces=[*spaces, RankOne(bias_in_use=0.6, temperature_in_use=0.15)],
        tensors=words | {prefix + name: tensor for name, tensor in found.items()},
        report=LoadReport(matched=tuple(matched), unused=tuple(k for k in contents.infos if k not in matched)),
        token=spaces[0].token if spaces else None,
        family="sd",
    )


def _facts(contents: Contents) -> dict[str, Any]:
    return {"edited projections": sum(bool(_OUTPUT.match(key)) for key in contents.infos)}


FORMATS = (
    Format(
        kind="perfusion",
        title="Perfusion checkpoint (ChenDarYen's port)",
        layout="`target_output.<layer>.attn2.to_k.target_output` [L, out], `to_v`, `target_input`, `C_inv`, "
        "`embedding.string_to_param.<word>`",
        recognise=by_keys(_OUTPUT.pattern),
        load=load,
        facts=_facts,
    ),
)
