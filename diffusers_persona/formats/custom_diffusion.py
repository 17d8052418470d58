"""Custom Diffusion files: diffusers' attention processors, and the deltas of the official code.

All hold new weights of the cross-attention (`KeyWeights`), some with the words that belong to them (`Word`); the
official code also compresses the change of each weight into two factors u v (`LowRank`).
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError
from . import ldm
from .base import Format, Hints, Loaded, LoadReport

if TYPE_CHECKING:
    from .contents import Contents

STOCK_FILE, DELTA_FILE, LDM_FILE = "pytorch_custom_diffusion_weights", "delta.bin", "delta.ckpt"
_PROJECTIONS = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "output"}
_STOCK = re.compile(
    r"^(?:unet\.)?(?P<layer>.+)\.processor\.(?P<part>to_[qkv]|to_out)_custom_diffusion"
    r"(?P<place>\.0)?\.(?P<name>weight|bias)$"
)
_WRAPPERS = r"(?:state_dict\.|unet\.)*(?:model\.diffusion_model\.)?"
_DELTA = re.compile(
    rf"^{_WRAPPERS}(?P<path>(?:input_blocks|middle_block|output_blocks|down_blocks|mid_block|up_blocks)\..*"
    r"attn2\.(?:to_[qkv]|to_out\.0)\.(?:weight|bias))(?:\.(?P<half>[uv]))?$"
)
_WORD = re.compile(r"^(?:state_dict\.)?modifier_token(?P<second>_2)?\.(?P<token>.+)$")
_EMBED = re.compile(r"^(?:state_dict\.)?embed$")
_TEXT = re.compile(r"^text_encoder\.(?P<path>.+\.(?:weight|bias))$")


def is_stock(contents: Contents) -> bool:
    """Whether there are weights of diffusers' Custom Diffusion processors."""
    return any(_STOCK.match(key) for key in contents.infos)


def is_delta(contents: Contents) -> bool:
    """Whether there are weights of cross-attention, and no others of a UNet."""
    keys = list(contents.infos)
    own = [key for key in keys if _DELTA.match(key)]
    return bool(own) and len(own) == sum(not any(p.match(key) for p in (_WORD, _EMBED, _TEXT)) for key in keys)


def _is_first_version(contents: Contents) -> bool:
    return any(key.startswith("state_dict.") for key in contents.infos)


# ------------------------------------------------------------------------------------------------------------- loading


def load(contents: Contents, hints: Hints) -> Loaded:
    """Weights of cross-attention, changes of them, and words, as far as the file has them.

    Raises:
        PersonaError: for a change with one half only, or a number of tokens that does not fit.
    """
    weights: dict[str, Any] = {}
    halves: dict[str, dict[str, Any]] = {}
    words: dict[str, dict[str, Any]] = {}
    matched = []
    for key, tensor in contents.tensors.items():
        place = _place(key)
        if place is None:
            continue
        matched.append(key)
        kind, path, part = place
        if kind == "weights":
            weights[path] = tensor
        elif kind == "change":
            halves.setdefault(path, {})[part] = tensor
        else:
            words.setdefault(path, {})[part] = _rows(tensor, contents, key)
    unet = getattr(getattr(hints.base, "unet", None), "config", None)
    spaces, tensors = _words(words, hints, contents)
    spaces, tensors = _weights(spaces, tensors, {_named(path, unet, weights): t for path, t in weights.items()})
    spaces, tensors, missing = _changes(spaces, tensors, {_named(path, unet, halves): t for path, t in halves.items()})
    return Loaded(
        spaces=spaces,
        tensors=tensors,
        report=LoadReport(
            matched=tuple(matched), unused=tuple(k for k in contents.infos if k not in matched), missing=missing
        ),
        token=next((space.token for space in spaces if space.adds_token), None),
        family=_family(weights, halves),
    )


def _rows(tensor, contents, key):
    if tensor.ndim not in (1, 2) or not tensor.numel():
        raise PersonaError(f"{contents.path}: {key!r} holds no vectors (shape {tuple(tensor.shape)}); fetch it again")
    return tensor.reshape(-1, tensor.shape[-1]).float()


def _place(key) -> tuple[str, str, str] | None:
    """What a key is: ("weights", path, ""), ("change", layer, half) or ("word", token, encoder); None for others."""
    found = _STOCK.match(key)
    if found:
        part = "to_out.0" if found["part"] == "to_out" else found["part"]
        return "weights", f"unet.{found['layer']}.{part}.{found['name']}", ""
    found = _DELTA.match(key)
    if found:
        path = f"unet.{found['path']}"
        return ("change", path.removesuffix(".weight"), found["half"]) if found["half"] else ("weights", path, "")
    found = _WORD.match(key)
    if found:
        return "word", found["token"], "text_encoder_2" if found["second"] else "text_encoder"
    if _EMBED.match(key):
        return "word", "", "text_encoder"
    found = _TEXT.match(key)
    return ("weights", key, "") if found and "token_embedding" not in key else None


def _named(path, unet, paths) -> str:
    """Original names as diffusers', where the UNet is known; else the host will find the layer."""
    component, _, inner = path.partition(".")
    if component != "unet" or not ldm.is_ldm(inner):
        return path
    if unet is not None:
        return f"unet.{ldm.of_config(inner, unet)}"
    return path if _family(paths, {}) is None else f"unet.{ldm.to_diffusers(inner)}"


def _words(words, hints: Hints, contents):
    from ..spaces import Word

    if "" in words:  # the official code keeps no names: <new1>, <new2>, ... in the order of the rows
        rows = words.pop("")["text_encoder"]
        words = {f"<new{n + 1}>": {"text_encoder": rows[n : n + 1]} for n in range(len(rows))} | words
    names = hints.tokens or tuple(words)
    if words and len(names) != len(words):
        raise PersonaError(
            f"{contents.path}: it holds {len(words)} word(s) ({', '.join(words)}), token= names {len(names)}; "
            "give as many"
        )
    spaces, tensors = [], {}
    for name, encoders in zip(names, words.values()):
        prefix = f"{len(spaces)}.word."
        tensors |= {f"{prefix}{encoder}.embedding": rows for encoder, rows in encoders.items()}
        spaces.append(Word(vectors=len(next(iter(encoders.values()))), init="rare", token=name))
    return spaces, tensors


def _weights(spaces, tensors, weights):
    from ..spaces import KeyWeights

    if not weights:
        return spaces, tensors
    endings = {ending: name for ending, name in _PROJECTIONS.items() if any(f".{ending}." in path for path in weights)}
    space = KeyWeights(attention="cross", projections=tuple(endings.values()), detach_start=True)
    prefix = f"{len(spaces)}.{space.kind}."
    return [*spaces, space], tensors | {prefix + path: value for path, value in weights.items()}


def _changes(spaces, tensors, halves):
    """Compressed deltas: W' = W + u v."""
    from ..spaces import LowRank

    missing = tuple(f"{path}.{half}" for path, parts in halves.items() for half in "uv" if half not in parts)
    whole = {path: parts for path, parts in halves.items() if set(parts) == {"u", "v"}}
    if not whole:
        return spaces, tensors, missing
    for path, parts in whole.items():
        if parts["u"].ndim != 2 or parts["v"].ndim != 2 or parts["u"].shape[1] != parts["v"].shape[0]:
            raise PersonaError(f"layer {path}: u {tuple(parts['u'].shape)} and v {tuple(parts['v'].shape)} do not fit")
    ranks = [parts["v"].shape[0] for parts in whole.values()]
    space = LowRank(rank=max(set(ranks), key=ranks.count), targets=("attn2.to_k", "attn2.to_v"))
    prefix = f"{len(spaces)}.{space.kind}."
    tensors = dict(tensors)
    for path, parts in whole.items():
        tensors |= {f"{prefix}{path}.lora_A.weight": parts["v"], f"{prefix}{path}.lora_B.weight": parts["u"]}
    return [*spaces, space], tensors, missing


def _family(weights, halves) -> str | None:
    """By the width of the text that keys and values are made from."""
    from .lora_layers import WIDTHS

    read = [value for path, value in weights.items() if re.search(r"attn2\.to_[kv]\.weight$", path)]
    read += [parts["v"] for parts in halves.values() if "v" in parts]
    widths = {value.shape[1] for value in read if value.ndim == 2}
    return next((WIDTHS[width][0] for width in widths if width in WIDTHS), None)


def facts(contents: Contents) -> dict[str, Any]:
    """Layers, words and base model of a file."""
    from .lora_layers import WIDTHS

    places = {key: place for key in contents.infos if (place := _place(key))}
    layers = {path.rpartition(".attn2.")[0] for kind, path, _ in places.values() if kind in ("weights", "change")}
    words = [path or "<new1>..." for kind, path, _ in places.values() if kind == "word"]
    read = [info for key, info in contents.infos.items() if re.search(r"attn2.*to_k.*weight(\.v)?$", key)]
    widths = [info.shape[1] for info in read if len(info.shape) == 2]
    return {
        "cross-attention layers": len(layers),
        "words": ", ".join(words) or None,
        "compressed": any(kind == "change" for kind, _, _ in places.values()) or None,
        "for": WIDTHS[widths[0]][1] if widths and widths[0] in WIDTHS else None,
    }


# ------------------------------------------------------------------------------------------------------------- writing


def save_stock(concept, *, suffix=None, **wishes) -> dict[str, bytes] | None:
    """diffusers' file: the .bin that ``unet.load_attn_procs`` reads, or .safetensors, which only we read back."""
    content: dict[str, Any] = {}
    for path, value in (_cross_attention(concept) or {}).items():
        layer, projection, name = re.fullmatch(
            r"unet\.(.+\.attn2)\.(to_[qkv]|to_out\.0)\.(weight|bias)", path
        ).groups()
        part, dot, place = projection.partition(".")
        content[f"{layer}.processor.{part}_custom_diffusion{dot}{place}.{name}"] = value.contiguous()
    if not content:
        return None
    if suffix == ".safetensors":
        from safetensors.torch import save

        return {f"{STOCK_FILE}.safetensors": save(content, metadata={"format": "pt"})}
    silent = {f"{layer}.attn1.processor": {} for layer in {key.partition(".attn2.")[0] for key in content}}
    return {f"{STOCK_FILE}.bin": _pickled(content | silent)}


def save_delta(concept, **wishes) -> dict[str, bytes] | None:
    """The official code's file of its diffusers version, with the words in it."""
    weights, words = _cross_attention(concept), _word_rows(concept)
    if not weights or any(len(rows) != 1 or set(encoders) != {"text_encoder"} for _, encoders, rows in words):
        return None
    content = {path.removeprefix("unet."): value for path, value in weights.items()}
    return {DELTA_FILE: _pickled({"unet": content, "modifier_token": {token: rows[0] for token, _, rows in words}})}


def save_ldm(concept, *, pipe=None, **wishes) -> dict[str, bytes] | None:
    """The official code's file of its first version: the original UNet's names, and the words as rows."""
    import torch

    weights, words = _cross_attention(concept), _word_rows(concept)
    if not weights or any(len(rows) != 1 or set(encoders) != {"text_encoder"} for _, encoders, rows in words):
        return None
    config = getattr(getattr(pipe, "unet", None), "config", None)
    shape = () if config is None else (config.layers_per_block, len(config.down_block_types))
    content = {
        f"model.diffusion_model.{ldm.from_diffusers(path.removeprefix('unet.'), *shape)}": value
        for path, value in weights.items()
    }
    if words:
        content["embed"] = torch.cat([rows for _, _, rows in words])
    return {LDM_FILE: _pickled({"state_dict": content})}


def _cross_attention(concept) -> dict[str, Any] | None:
    """The concept's weights under diffusers' names, when all are of cross-attention layers."""
    weights = {}
    for i, space in enumerate(concept.spaces):
        if space.kind == "key_weights":
            weights |= concept.tensors_of(i)
    paths = {f"unet.{ldm.to_diffusers(path.removeprefix('unet.'))}": value for path, value in weights.items()}
    fits = all(re.fullmatch(r"unet\..+\.attn2\.(to_[qkv]|to_out\.0)\.(weight|bias)", path) for path in paths)
    return paths if fits else None


def _word_rows(concept) -> list[tuple[str, tuple[str, ...], Any]]:
    """Token, text encoders and vectors of each word."""
    found = []
    for i, space in enumerate(concept.spaces):
        if space.kind == "word":
            rows = {
                k.removesuffix(".embedding"): v for k, v in concept.tensors_of(i).items() if k.endswith("embedding")
            }
            found.append((space.token, tuple(rows), next(iter(rows.values()))))
    return found


def _pickled(content) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


FORMATS = (
    Format(
        kind="custom-diffusion",
        title="Custom Diffusion weights (diffusers)",
        layout="`<layer>.attn2.processor.to_k_custom_diffusion.weight`, `to_v`, and `to_q`, `to_out` where trained; "
        "the words are files of their own (`<new1>.bin`)",
        recognise=is_stock,
        load=load,
        save=save_stock,
        writes=("diffusers",),
        holds=("key_weights",),
        suffixes=(".bin", ".safetensors"),
        facts=facts,
    ),
    Format(
        kind="custom-diffusion",
        title="Custom Diffusion delta (official code)",
        layout="`unet.<layer>.attn2.to_k.weight`, `to_v`, `modifier_token.<new1>`; compressed: "
        "`.weight.u`, `.weight.v`",
        recognise=lambda contents: is_delta(contents) and not _is_first_version(contents),
        load=load,
        save=save_delta,
        writes=("original",),
        holds=("word", "key_weights"),
        suffixes=(".bin",),
        facts=facts,
    ),
    Format(
        kind="custom-diffusion",
        title="Custom Diffusion delta (official code, first version)",
        layout="`state_dict.model.diffusion_model.<layer>.attn2.to_k.weight`, `to_v`, `state_dict.embed`",
        recognise=is_delta,
        load=load,
        save=save_ldm,
        writes=("ldm",),
        holds=("word", "key_weights"),
        suffixes=(".ckpt",),
        facts=facts,
    ),
)
