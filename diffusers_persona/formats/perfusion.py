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
    from ..spaces import RankOne

    edit, edited = _edit(contents, hints)
    words, tensors, named = _words(contents, hints)
    silent = [k for k in contents.infos if k.startswith("embedding.string_to_token.") or k.endswith(".target_input")]
    matched = (*_NEEDED, *edited, *named, *silent)
    return Loaded(
        spaces=[*words, RankOne(bias_in_use=0.6, temperature_in_use=0.15)],
        tensors=tensors | {f"{len(words)}.rank_one.{name}": tensor for name, tensor in edit.items()},
        report=LoadReport(matched=matched, unused=tuple(k for k in contents.infos if k not in matched)),
        token=words[0].token if words else None,
        family="sd",
    )


def _edit(contents, hints) -> tuple[dict[str, Any], list[str]]:
    """The tensors of the rank-one space, and the keys of the outputs among them."""
    tensors = contents.tensors
    missing = [name for name in _NEEDED if name not in tensors]
    if missing or tensors["C_inv"].shape != tensors["target_input"].shape * 2:
        raise PersonaError(
            f"{contents.path}: {', '.join(missing) or 'C_inv'} is missing or of another shape than [d, d] for "
            "target_input [d]; fetch the checkpoint again"
        )
    target = tensors["target_input"].float()
    found, keys = {"input": target, "direction": tensors["C_inv"].float() @ target}, []
    unet = getattr(getattr(hints.base, "unet", None), "config", None)
    for key, tensor in tensors.items():
        output = _OUTPUT.match(key)
        if output is not None:
            layer = output["layer"]
            name = layer if unet is None or not ldm.is_ldm(layer) else ldm.of_config(layer, unet)
            found[f"unet.{name}.{output['part']}.output"] = tensor.float()
            keys.append(key)
    return found, keys


def _words(contents, hints) -> tuple[list, dict[str, Any], list[str]]:
    """The words, their tensors and keys. The port's own name for every concept is ``*``."""
    from ..spaces import Word

    spaces, tensors, keys = [], {}, [key for key in contents.infos if _WORD.match(key)]
    for number, key in enumerate(keys):
        rows = contents.tensors[key].float()
        rows = rows.reshape(-1, rows.shape[-1])
        own = _WORD.match(key)["word"].strip("<>*") or "concept"
        token = hints.tokens[number] if number < len(hints.tokens) else f"<{own}>"
        spaces.append(Word(vectors=len(rows), token=token))
        tensors[f"{number}.word.text_encoder.embedding"] = rows
    return spaces, tensors, keys


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
