"""Read a PyTorch file (.pt, .bin, .ckpt, .pth; zip or legacy) without unpickling it.

Python's pickle module and `torch.load` are not used. `machine` interprets the few opcodes that plain data needs and
knows a short table of names; whatever else a pickle asks for is refused with its name, and no name is ever looked up
or called. Tensors come out as descriptions (type, shape, place), checked against the bytes that are there before any
memory is taken; the data itself is read when `Contents.tensors` is used. Entry names of the archive are compared,
never used as paths.
"""

from __future__ import annotations

import dataclasses
import math
import mmap
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import PersonaError
from . import machine
from .contents import PICKLE, Contents
from .machine import StoredTensor
from .safetensors_header import HEADER_LIMIT, TensorInfo

MAGIC = 0x1950A86A20F9469CFC6C
MOST_TIMES_FILE = 10
SMALL = 1 << 20
MOST_DEPTH = 64
MOST_VALUES = 500_000
MOST_NAMES = 32 << 20
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RecursionError, MemoryError, OverflowError),
    *(ValueError, LookupError, TypeError, AttributeError, OSError, RuntimeError),
)


class RefusedError(PersonaError):
    """A file that asks for more than plain data, or is a pickle of something else."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Archive:
    """What a PyTorch file holds: its value, and where each storage lies.

    Attributes:
        value: nested plain values with `StoredTensor`s.
        storages: key -> number of bytes.
        source: path of the file.
        offsets: key -> place in the file, for the legacy layout; None for a zip, whose entries have names.
        folder: common folder of the zip's entries.
    """

    value: Any
    storages: dict[str, int]
    source: Path
    offsets: dict[str, int] | None = None
    folder: str = ""

    def data(self, key: str) -> bytearray:
        """The bytes of a storage.

        Raises:
            PersonaError: it is cut short or damaged.
        """
        buffer = bytearray(self.storages[key])
        try:
            count = self._read_into(buffer, key)
        except _DAMAGE as error:
            raise PersonaError(f"{self.source}: storage {key!r} is damaged ({error}); fetch the file again") from None
        if count != len(buffer):
            raise PersonaError(f"{self.source}: storage {key!r} is cut short; fetch the file again")
        return buffer

    def _read_into(self, buffer: bytearray, key: str) -> int:
        if self.offsets is None:
            with zipfile.ZipFile(self.source) as archive, archive.open(f"{self.folder}/data/{key}") as entry:
                return entry.readinto(buffer)
        with self.source.open("rb") as file:
            file.seek(self.offsets[key])
            return file.readinto(buffer)


def is_pickle(path: Path) -> bool:
    """Whether the first bytes are those of a pickle, or of a zip archive with PyTorch's pickle in it."""
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK\x03\x04"):
        return bool(_pickles_of(path))
    is_header = start[8:9] == b"{" and int.from_bytes(start[:8], "little") < HEADER_LIMIT
    return start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and not is_header


def _pickles_of(path: Path) -> list[str]:
    """Names of the archive's pickles; a broken archive counts as one, so that its reader says what is broken."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return [""]


def read(path: Path) -> Contents:
    """The contents of a PyTorch file.

    Raises:
        RefusedError: it asks for more than plain data; the message names the class or function.
        PersonaError: it is damaged, or claims more bytes than it has; the message names the key.
    """
    try:
        archive = _open_zip(path) if _is_zip(path) else _open_legacy(path)
        infos, stored, extra, tree = _flatten(archive)
        _check_sizes(archive, stored)
    except machine.Refused as error:
        raise RefusedError(f"{path}: {error}") from None
    except PersonaError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PersonaError(f"{path}: a damaged PyTorch file ({reason}); fetch it again") from None
    return Contents(
        path=path, infos=infos, extra=extra, tree=tree, container=PICKLE, read=lambda: _tensors(archive, stored)
    )


# ------------------------------------------------------------------------------------------------------ the containers


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _open_zip(path: Path) -> Archive:
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        total = sum(info.file_size for info in entries.values())
        if total > MOST_TIMES_FILE * path.stat().st_size:
            raise PersonaError(f"{path}: the archive claims {total} bytes unpacked, more than it can hold; refused")
        pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise PersonaError(f"{path}: a zip archive, but not of PyTorch (it needs one data.pkl); see what is in it")
        folder = pickles[0].partition("/")[0]
        order = entries.get(f"{folder}/byteorder")
        if order is not None and archive.read(order) != b"little":
            raise PersonaError(f"{path}: saved in big-endian byte order, which is not read; save it as safetensors")
        value = machine.run(archive.read(pickles[0]))
    prefix = f"{folder}/data/"
    sizes = {name.removeprefix(prefix): info.file_size for name, info in entries.items() if name.startswith(prefix)}
    return Archive(value=value, storages=sizes, source=path, folder=folder)


def _open_legacy(path: Path) -> Archive:
    """Four pickles (magic number, version, system, value), the list of storages, then each one's count and bytes."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if machine.run(data) != MAGIC:
            raise RefusedError(f"{path}: a pickle, but not of PyTorch; save its tensors as safetensors")
        machine.run(data)
        if machine.run(data).get("little_endian") is False:
            raise PersonaError(f"{path}: saved in big-endian byte order, which is not read; save it as safetensors")
        value = machine.run(data)
        keys = machine.run(data)
        types = _storage_types(value)
        offsets, sizes = {}, {}
        for key in keys:
            count = int.from_bytes(data.read(8), "little", signed=True)
            offsets[key], sizes[key] = data.tell(), count * types.get(key, ("U8", 1))[1]
            if count < 0 or data.tell() + sizes[key] > len(data):
                raise PersonaError(f"{path}: storage {key!r} claims {count} elements, more than the file holds")
            data.seek(sizes[key], 1)
    return Archive(value=value, storages=sizes, source=path, offsets=offsets)


def _storage_types(value) -> dict[str, tuple[str, int]]:
    return {leaf.storage: machine.ELEMENT[leaf.dtype] for _, leaf in _walk(value) if isinstance(leaf, StoredTensor)}


# ---------------------------------------------------------------------------------------------------------- the values


def _walk(value, budget: int = MOST_VALUES) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and leaf of each value; shared containers are walked again, so their number is limited."""
    todo = [((), value)]
    while todo:
        keys, value = todo.pop()
        budget -= len(value) if isinstance(value, (dict, list, tuple)) else 0
        if budget < 0 or len(keys) > MOST_DEPTH:
            raise machine.Refused("its values are nested or shared beyond all measure; refused")
        if isinstance(value, (dict, list, tuple)) and value:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            todo += [((*keys, str(key)), inner) for key, inner in reversed(list(items))]
        else:
            yield keys, value


def _flatten(archive: Archive):
    """Flat infos, stored tensors and plain values, and the tree with infos in place of tensors."""
    infos, stored, extra = {}, {}, {}
    room = MOST_NAMES
    for keys, leaf in _walk(archive.value):
        name = ".".join(keys) if keys else "tensor"
        room -= len(name)
        if room < 0:
            raise machine.Refused("the names of its values are long beyond all measure; refused")
        if name in infos or name in extra:
            raise machine.Refused(f"two entries are called {name!r}; the file is damaged")
        if isinstance(leaf, StoredTensor):
            infos[name], stored[name] = TensorInfo(name=name, dtype=leaf.dtype, shape=leaf.shape), leaf
        elif leaf is None or isinstance(leaf, (str, int, float, bool)):
            extra[name] = leaf
    return infos, stored, extra, _tree(archive.value, ())


def _tree(value, keys):
    if isinstance(value, StoredTensor):
        return TensorInfo(name=".".join(keys) or "tensor", dtype=value.dtype, shape=value.shape)
    if isinstance(value, dict):
        return {key: _tree(inner, (*keys, str(key))) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_tree(inner, (*keys, str(i))) for i, inner in enumerate(value)]
    return value.name if isinstance(value, machine.Known) else value


def _check_sizes(archive: Archive, stored: dict[str, StoredTensor]) -> None:
    """Each tensor lies within its storage, and all together are not much more than the file."""
    total = 0
    for name, tensor in stored.items():
        if any(n < 0 for n in (*tensor.shape, *tensor.stride, tensor.offset)) or len(tensor.shape) != len(
            tensor.stride
        ):
            raise PersonaError(f"{archive.source}: tensor {name!r} has an impossible shape {list(tensor.shape)}")
        size = machine.ELEMENT[tensor.dtype][1]
        count = math.prod(tensor.shape)
        last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride)) + 1 if count else 0
        held = archive.storages.get(tensor.storage)
        if held is None or last * size > held:
            raise PersonaError(
                f"{archive.source}: tensor {name!r} ({tensor.dtype}, shape {list(tensor.shape)}) lies outside its "
                f"storage of {held or 0} bytes; the file is damaged, fetch it again"
            )
        total += count * size
    if total > max(SMALL, MOST_TIMES_FILE * archive.source.stat().st_size):
        raise PersonaError(f"{archive.source}: its tensors claim {total} bytes, far more than the file has; refused")


def _tensors(archive: Archive, stored: dict[str, StoredTensor]) -> dict:
    import torch

    storages: dict = {}
    tensors = {}
    for name, tensor in stored.items():
        dtype = getattr(torch, machine.ELEMENT[tensor.dtype][2])
        if math.prod(tensor.shape) == 0:
            tensors[name] = torch.empty(tensor.shape, dtype=dtype)
            continue
        if tensor.storage not in storages:
            storages[tensor.storage] = torch.frombuffer(archive.data(tensor.storage), dtype=torch.uint8)
        data = storages[tensor.storage]
        size = machine.ELEMENT[tensor.dtype][1]
        flat = data[: len(data) // size * size].view(dtype)
        tensors[name] = flat.as_strided(tensor.shape, tensor.stride, tensor.offset).contiguous()
    return tensors
