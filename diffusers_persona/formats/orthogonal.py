"""Files of orthogonal fine-tuning: the official code of OFT, and PEFT's folders of OFT and BOFT.

The official R is a full matrix of which only the skew part counts; PEFT keeps the triangle above the diagonal for
OFT, full matrices for BOFT. PEFT's fast variant of OFT (`use_cayley_neumann`) turns the other way round.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError
from . import lora_keys
from .base import Format, Hints, Loaded, LoadReport
from .lora_layers import ending
from .lora_save import PEFT_CONFIG, PEFT_FILE
from .signatures import by_keys

if TYPE_CHECKING:
    from .contents import Contents

OFFICIAL_FILE = "pytorch_lora_weights"
_OFFICIAL = re.compile(r"^(?:state_dict\.|unet\.)*(?P<layer>.+)\.processor\.(?P<part>to_q|to_k|to_v|to_out)_oft\.R$")
_BUFFERS = re.compile(r"\.processor\.(?:to_(?:q|k|v|out)_oft\.)?(?:cross_attention_dim|hidden_size|I|eps|r)$")
_PEFT = re.compile(r"^base_model\.model\.(?P<layer>.+)\.(?P<part>oft_R\.weight|boft_R|boft_s)$")


# ------------------------------------------------------------------------------------------------------------- loading


def load_official(contents: Contents, hints: Hints) -> Loaded:
    """R [r, b, b] of each attention projection, or one [b, b] for all its blocks."""
    from ..functional.orthogonal import triangle

    layers, matched = {}, []
    for key, matrix in contents.tensors.items():
        found = _OFFICIAL.match(key)
        if found:
            part = "to_out.0" if found["part"] == "to_out" else found["part"]
            blocks = _square(contents, key, matrix if matrix.ndim == 3 else matrix[None], 3)
            layers[f"unet.{found['layer']}.{part}"] = {"rotation": triangle(blocks.float())[None]}
            matched.append(key)
        elif _BUFFERS.search(key):
            matched.append(key)
    return _loaded(contents, layers, matched)


def load_peft(contents: Contents, hints: Hints) -> Loaded:
    """A PEFT folder: ``oft_R.weight`` [r, n] with its config beside it, or ``boft_R`` [m, r, b, b] and ``boft_s``.

    Raises:
        PersonaError: OFT without ``adapter_config.json``, which tells which way the blocks turn.
    """
    from ..functional.orthogonal import triangle

    config = contents.beside(PEFT_CONFIG)
    model = ((config or {}).get("auto_mapping") or {}).get("base_model_class")
    layers: dict[str, dict] = {}
    matched = []
    for key, tensor in contents.tensors.items():
        found = _PEFT.match(key)
        paths = lora_keys.resolve(found["layer"], model) if found else ()
        if len(paths) != 1:
            continue
        parts = layers.setdefault(paths[0], {})
        if found["part"] == "boft_s":
            parts["magnitude"] = tensor.float().flatten()
        elif found["part"] == "boft_R":
            parts["rotation"] = triangle(_square(contents, key, tensor, 4).float())
        else:
            if config is None:
                raise PersonaError(
                    f"{contents.path}: {PEFT_CONFIG} does not lie beside it, and OFT turns one way or the other by "
                    "what it says (use_cayley_neumann); fetch it, too"
                )
            parts["rotation"] = (-1 if config.get("use_cayley_neumann", True) else 1) * tensor.float()[None]
        matched.append(key)
    return _loaded(contents, layers, matched)


def _square(contents, key, tensor, axes):
    if tensor.ndim != axes or tensor.shape[-1] != tensor.shape[-2]:
        raise PersonaError(f"{contents.path}: {key!r} {tuple(tensor.shape)} holds no square blocks; fetch it again")
    return tensor


def _loaded(contents, layers, matched) -> Loaded:
    from ..spaces import Orthogonal

    missing = [f"{path}.rotation" for path, parts in layers.items() if "rotation" not in parts]
    layers = {path: parts for path, parts in layers.items() if "rotation" in parts}
    shapes = [tuple(parts["rotation"].shape) for parts in layers.values()]
    factors, blocks = max(((shape[0], shape[1]) for shape in shapes), default=(1, 1))
    space = Orthogonal(
        blocks=max(blocks, 2 ** (factors - 1)),
        factors=factors,
        shared=blocks == 1,
        magnitudes=any("magnitude" in parts for parts in layers.values()),
        targets=tuple(sorted({ending(path) for path in layers})),
        text_encoders=any(path.startswith("text_encoder") for path in layers),
    )
    return Loaded(
        spaces=[space],
        tensors={f"0.orthogonal.{path}.{name}": t for path, parts in layers.items() for name, t in parts.items()},
        report=LoadReport(
            matched=tuple(matched), unused=tuple(k for k in contents.infos if k not in matched), missing=tuple(missing)
        ),
    )


def _facts(contents: Contents) -> dict[str, Any]:
    shapes = [i.shape for key, i in contents.infos.items() if key.endswith(("_oft.R", "oft_R.weight", "boft_R"))]
    return {"layers": len(shapes), "blocks": ", ".join(sorted({str(s[-3 if len(s) > 2 else 0]) for s in shapes}))}


# ------------------------------------------------------------------------------------------------------------- writing


def _layers(concept) -> dict[str, dict]:
    """Path of a layer -> parts, of all orthogonal spaces of a concept."""
    found: dict[str, dict] = {}
    for i, space in enumerate(concept.spaces):
        if space.kind == "orthogonal":
            found |= space.layers(concept.tensors_of(i))
    return found


def save_official(concept, *, suffix=None, **wishes) -> dict[str, bytes] | None:
    """Skew matrices R under the names of the official processors; None for several factors, or other layers."""
    from ..functional.orthogonal import skew

    content = {}
    for path, parts in _layers(concept).items():
        found = re.fullmatch(r"unet\.(.+\.attn\d)\.(to_q|to_k|to_v|to_out)(?:\.0)?", path)
        if found is None or len(parts["rotation"]) != 1 or "magnitude" in parts:
            return None
        matrices = skew(parts["rotation"][0])
        key = f"{found[1]}.processor.{found[2]}_oft.R"
        content[key] = matrices[0] if len(matrices) == 1 else matrices
    return {f"{OFFICIAL_FILE}{suffix or '.bin'}": _pickled(content) if suffix != ".safetensors" else _safe(content)}


def save_peft(concept, **wishes) -> dict[str, bytes] | None:
    """PEFT's folder, one for each network; OFT for one factor without magnitudes, else BOFT, which always has them."""
    layers = _layers(concept)
    plain = all(len(p["rotation"]) == 1 and "magnitude" not in p for p in layers.values())
    if not plain and not all("magnitude" in parts for parts in layers.values()):
        return None
    files: dict[str, bytes] = {}
    components = list(dict.fromkeys(path.partition(".")[0] for path in layers))
    for component in components:
        own = {path.partition(".")[2]: parts for path, parts in layers.items() if path.startswith(f"{component}.")}
        content, config = (_oft if plain else _boft)(own)
        model = next((model for model, name in lora_keys.MODELS.items() if name == component), None)
        numbers = config.to_dict() | {"inference_mode": True}
        numbers["auto_mapping"] = {"base_model_class": model} if model else None
        numbers = {name: sorted(value) if isinstance(value, set) else value for name, value in numbers.items()}
        folder = f"{component}/" if len(components) > 1 else ""
        files[folder + PEFT_CONFIG] = json.dumps(numbers, indent=2, sort_keys=True, default=str).encode()
        files[folder + PEFT_FILE] = _safe({f"base_model.model.{name}": value for name, value in content.items()})
    return files


def _oft(layers):
    from peft import OFTConfig

    from ..functional.orthogonal import block_size

    shapes = {tuple(parts["rotation"].shape[1:]) for parts in layers.values()}
    shared = all(blocks == 1 for blocks, _ in shapes)
    sides = {block_size(entries) for _, entries in shapes}
    size = {"r": 0, "oft_block_size": sides.pop()} if shared and len(sides) == 1 else {"r": max(b for b, _ in shapes)}
    config = OFTConfig(
        target_modules=sorted({ending(path) for path in layers}),
        block_share=shared,
        use_cayley_neumann=False,
        **{"oft_block_size": 0} | size,
    )
    return {f"{path}.oft_R.weight": parts["rotation"][0] for path, parts in layers.items()}, config


def _boft(layers):
    from peft import BOFTConfig

    from ..functional.orthogonal import skew

    content = {}
    for path, parts in layers.items():
        content[f"{path}.boft_R"] = skew(parts["rotation"])
        content[f"{path}.boft_s"] = parts["magnitude"].reshape(-1, 1)
    factors, blocks = next(iter(layers.values()))["rotation"].shape[:2]
    config = BOFTConfig(
        target_modules=sorted({ending(path) for path in layers}),
        boft_block_num=blocks,
        boft_block_size=0,
        boft_n_butterfly_factor=factors,
    )
    return content, config


def _safe(content) -> bytes:
    from safetensors.torch import save

    return save({key: value.contiguous() for key, value in content.items()}, metadata={"format": "pt"})


def _pickled(content) -> bytes:
    import io

    import torch

    buffer = io.BytesIO()
    torch.save({key: value.contiguous() for key, value in content.items()}, buffer)
    return buffer.getvalue()


FORMATS = (
    Format(
        kind="oft",
        title="OFT (official code)",
        layout="`<layer>.attn1.processor.to_q_oft.R` [r, b, b], `to_k`, `to_v`, `to_out`",
        recognise=by_keys(_OFFICIAL.pattern),
        load=load_official,
        save=save_official,
        writes=("original",),
        holds=("orthogonal",),
        suffixes=(".bin", ".safetensors"),
        facts=_facts,
    ),
    Format(
        kind="oft",
        title="OFT or BOFT (PEFT folder)",
        layout="`base_model.model.<layer>.oft_R.weight` [r, b (b - 1) / 2] with its `adapter_config.json`; "
        "`.boft_R` [m, r, b, b] and `.boft_s`",
        recognise=by_keys(_PEFT.pattern),
        load=load_peft,
        save=save_peft,
        writes=("peft",),
        holds=("orthogonal",),
        facts=_facts,
    ),
)
