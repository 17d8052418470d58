"""Fine-tuned weights of a whole network (DreamBooth): the concept is what differs from the base pipeline's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError
from .base import Format, Hints, Loaded, LoadReport
from .names import spellings
from .pipeline_words import take_words

if TYPE_CHECKING:
    from torch import Tensor

    from .contents import Contents

_NEEDS_BASE = "all weights of a network are a concept only beside the base that they were learned from"


def is_unet(contents: Contents) -> bool:
    """Whether there are the weights of a whole UNet under diffusers' names."""
    return any(key.startswith("time_embedding.") for key in contents.infos) and any(
        key.startswith("down_blocks.") for key in contents.infos
    )


def load(contents: Contents, hints: Hints) -> Loaded:
    """The weights of a UNet that differ from the base's.

    Raises:
        PersonaError: without a base pipeline, or when a weight does not fit it.
    """
    if hints.base is None:
        raise PersonaError(f"{contents.path}: this is a UNet, and {_NEEDS_BASE}; give that pipeline with base=")
    return _loaded({"unet": contents.tensors}, hints, contents.path)


def load_pipeline(folder: Path, hints: Hints) -> tuple[list[Contents], Loaded]:
    """The weights of a fine-tuned pipeline's folder that differ from the base's, its words, and the files of both.

    Raises:
        PersonaError: when the folder lacks a network of the base, or a weight does not fit it.
    """
    from .. import backbones
    from .contents import read

    host = backbones.of(hints.base)
    files: list[Contents] = []
    networks: dict[str, dict[str, Tensor]] = {}
    for name in (host.denoiser_name, *host.encoder_names):
        parts = [read(path) for path in _shards(folder / name)]
        if not parts:
            raise PersonaError(f"{folder / name}: no .safetensors file, other than in the pipeline given as base=")
        files += parts
        networks[name] = {key: value for part in parts for key, value in part.tensors.items()}
    words = take_words(folder, host, networks, hints)
    return files, _loaded(networks, hints, folder, words)


def _shards(folder: Path) -> Iterable[Path]:
    """The weight files of a component, without variants in another precision where there is a plain one."""
    found = sorted(folder.glob("*.safetensors"))
    plain = [path for path in found if path.name.count(".") == 1]
    return plain or found


def _loaded(networks: dict[str, dict[str, Tensor]], hints: Hints, path, words=None) -> Loaded:
    from .. import backbones
    from ..spaces import Weights, Word

    host = backbones.of(hints.base)
    changed: dict[str, Any] = {}
    report = LoadReport()
    for name, tensors in networks.items():
        own, unused, missing = _changes(host.component(name), tensors, f"{path}: {name}")
        changed |= {f"{name}.{key}": value for key, value in own.items()}
        used = tuple(f"{name}.{key}" for key in tensors if key not in unused)
        report += LoadReport(matched=used, unused=tuple(f"{name}.{key}" for key in unused), missing=tuple(missing))
    if not changed and not words:
        raise PersonaError(f"{path}: every weight is the base's own; give the pipeline it was learned from with base=")
    spaces, tensors = [], {}
    for token, vectors in (words or {}).items():
        tensors |= {f"{len(spaces)}.word.{name}.embedding": rows for name, rows in vectors.items()}
        spaces.append(Word(vectors=len(next(iter(vectors.values()))), token=token))
    if changed:
        text = any(key.partition(".")[0] in host.encoder_names for key in changed)
        tensors |= {f"{len(spaces)}.weights.{key}": value for key, value in changed.items()}
        spaces.append(Weights(text_encoders=text))
    return Loaded(
        spaces=spaces,
        tensors=tensors,
        report=report,
        token=next(iter(words), None) if words else None,
        family=host.name,
    )


def _changes(root, tensors, where) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Weights that differ, under the host's names; keys of the file that fit nothing; the host's that it lacks."""
    import torch

    stock = {name: value.detach().cpu() for name, value in root.state_dict().items()}
    changed, unused, seen = {}, [], set()
    for key, value in tensors.items():
        layer, _, parameter = key.rpartition(".")
        name = next((n for n in (f"{s}.{parameter}" for s in spellings(layer, root)) if n in stock), None)
        if name is None:
            unused.append(key)
            continue
        seen.add(name)
        if stock[name].shape != value.shape:
            raise PersonaError(
                f"{where}: {key!r} has shape {tuple(value.shape)}, the base's is {tuple(stock[name].shape)}; "
                "give the pipeline that it was learned from with base="
            )
        if torch.is_floating_point(value) and not torch.equal(stock[name].to(value.dtype), value):
            changed[name] = value
    return changed, unused, sorted(set(stock) - seen)


FORMATS = (
    Format(
        kind="unet",
        title="UNet weights",
        layout="`down_blocks.*`, `time_embedding.*`; a whole pipeline's folder, too; with `base=` only",
        recognise=is_unet,
        load=load,
        next_step="Concept.from_file(..., base=pipe), or DiffusionPipeline.from_pretrained(...) in diffusers",
    ),
)
