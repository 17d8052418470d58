"""The contents of a weight file, the same for safetensors and for pickles: names, shapes, plain values, tensors."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError
from .safetensors_header import TensorInfo, read_header

if TYPE_CHECKING:
    from torch import Tensor

SAFETENSORS, PICKLE = "safetensors", "pickle"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
MOST_JSON_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """What is in a file of weights. Its tensors are read when `tensors` is first used; all else is at hand at once.

    Nested dictionaries of a pickle are flattened: ``{"string_to_param": {"*": t}}`` has the key
    ``"string_to_param.*"`` (a list's keys are its indices); a file that is one bare tensor has the key ``"tensor"``.

    Attributes:
        path: the file.
        infos: flat key -> name, element type and shape of each tensor.
        extra: flat key -> plain value (str, int, float, bool, None) found beside tensors in a pickle.
        metadata: the free metadata of a safetensors file.
        tree: the file's own nesting, with a `TensorInfo` (whose ``name`` is the flat key) in place of each tensor.
        container: ``"safetensors"`` or ``"pickle"``.
        read: reads all tensors; use `tensors`.
    """

    path: Path
    infos: Mapping[str, TensorInfo]
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tree: Any = None
    container: str = SAFETENSORS
    read: Callable[[], Mapping[str, Tensor]] = dict

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Flat key -> tensor, on the CPU, in the file's own precision.

        Raises:
            PersonaError: naming the key that holds a value that is not finite.
        """
        import torch

        tensors = dict(self.read())
        for key, tensor in tensors.items():
            if not torch.isfinite(tensor if tensor.element_size() > 1 else tensor.float()).all():
                raise PersonaError(f"{self.path}: key {key!r} holds values that are not finite numbers (NaN or inf)")
        return tensors

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], *, path="file.safetensors", extra=None, metadata=None) -> Contents:
        """Contents in memory: flat key -> tensor, as if read from `path`."""
        infos = {
            name: TensorInfo(name=name, dtype=_spelt(t.dtype), shape=tuple(t.shape)) for name, t in tensors.items()
        }
        return cls(
            path=Path(path),
            infos=infos,
            extra=extra or {},
            metadata=metadata or {},
            tree=infos,
            read=lambda: tensors,
        )

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of the tensor `key`."""
        return self.infos[key].shape

    def part(self, names: Mapping[str, str], *, metadata: Mapping[str, str] | None = None) -> Contents:
        """Some of the tensors under other names: new key -> key here. Plain values stay; nesting is given up."""
        infos = {new: dataclasses.replace(self.infos[old], name=new) for new, old in names.items()}
        return dataclasses.replace(
            self,
            infos=infos,
            tree=infos,
            metadata=self.metadata if metadata is None else metadata,
            read=lambda: {new: self.tensors[old] for new, old in names.items()},
        )

    def under(self, prefix: str) -> Contents:
        """The tensors whose key begins with `prefix`, without it (``"state_dict."``)."""
        return self.part({key.removeprefix(prefix): key for key in self.infos if key.startswith(prefix)})

    def beside(self, name: str) -> dict[str, Any] | None:
        """The JSON object in the file `name` of the same folder (``"adapter_config.json"``), or None.

        Raises:
            PersonaError: it is there and is no JSON object.
        """
        path = self.path.parent / name
        if not path.is_file():
            return None
        if path.stat().st_size > MOST_JSON_BYTES:
            raise PersonaError(f"{path}: {path.stat().st_size} bytes are too many for a configuration")
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise PersonaError(f"{path} is not valid JSON ({error}); fetch it again") from None
        if not isinstance(value, dict):
            raise PersonaError(f"{path} should hold a JSON object; it holds a {type(value).__name__}")
        return value


def read(path: str | os.PathLike) -> Contents:
    """Opens a file of weights: safetensors, or a pickle (.pt, .bin, .ckpt, .pth) through the restricted reader.

    Told by its first bytes, not by its name. Nothing is executed, and no tensor is read yet.

    Raises:
        PersonaError: one line naming the file: missing, damaged, of another type, or a pickle that asks for more than
            plain data.
    """
    from . import pickles

    path = Path(path)
    if not path.is_file():
        raise PersonaError(f"{path} is no file; give a .safetensors, .pt, .bin or .ckpt file")
    if pickles.is_pickle(path):
        return pickles.read(path)
    if not is_safetensors(path):
        raise PersonaError(f"{path}: neither safetensors nor a PyTorch file; see persona inspect")
    infos, metadata = read_header(path)
    _check_count(path, infos)
    named = {info.name: info for info in infos}
    return Contents(path=path, infos=named, metadata=metadata, tree=named, read=lambda: _load(path))


def is_safetensors(path: Path) -> bool:
    """Whether the first bytes are those of a safetensors file, or it is named like one."""
    with path.open("rb") as file:
        start = file.read(16)
    return path.suffix == ".safetensors" or (start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000)


def _check_count(path: Path, infos) -> None:
    for info in infos:
        if any(not isinstance(side, int) or side < 0 for side in info.shape) or math.prod(info.shape) > 1 << 40:
            raise PersonaError(f"{path}: tensor {info.name!r} has an impossible shape {list(info.shape)}")


def _load(path: Path) -> dict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise PersonaError(f"{path}: not a readable safetensors file ({error}); fetch or save it again") from None


def _spelt(dtype) -> str:
    """A torch element type as safetensors spells it: ``torch.float16`` -> ``"F16"``."""
    name = str(dtype).removeprefix("torch.")
    for word, letter in (("bfloat", "BF"), ("float8_", "F8_"), ("float", "F"), ("uint", "U"), ("int", "I")):
        if name.startswith(word):
            return (letter + name.removeprefix(word)).upper()
    return {"bool": "BOOL", "complex64": "C64"}.get(name, name.upper())
