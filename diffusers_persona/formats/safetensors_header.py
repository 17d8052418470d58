"""Read the header of a safetensors file without its tensors and without torch, and check that the file is whole."""

import dataclasses
import json
import math
import os
from pathlib import Path

from ..errors import PersonaError

HEADER_LIMIT = 100_000_000
_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
}
_BYTES |= {"I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One tensor of a file: its key, element type as the file spells it (``"F32"``) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of the tensor's data; 0 for an element type this reader does not know."""
        return math.prod(self.shape) * _BYTES.get(self.dtype, 0)


def read_header(path: str | os.PathLike) -> tuple[list[TensorInfo], dict[str, str]]:
    """List the tensors and the metadata of a safetensors file.

    Args:
        path: the file.

    Returns:
        tensors in the order of the file's data, and the free metadata (`str` -> `str`).

    Raises:
        PersonaError: one line naming the file and what is broken: too short, a header that is no JSON, offsets that
            do not fit the shapes, or fewer bytes than the header promises.
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(HEADER_LIMIT, size - 8):
            raise PersonaError(
                f"{path}: no whole safetensors header ({size} bytes in the file); fetch or save it again"
            )
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"))
        metadata = {str(key): str(value) for key, value in header.pop("__metadata__", {}).items()}
        entries = [
            (entry["data_offsets"], TensorInfo(name=name, dtype=str(entry["dtype"]), shape=tuple(entry["shape"])))
            for name, entry in header.items()
        ]
        entries.sort(key=lambda item: tuple(item[0]))
        _check_offsets(path, entries, size - 8 - length)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, PersonaError):
            raise
        raise PersonaError(f"{path}: the safetensors header is damaged ({error}); fetch or save it again") from None
    return [info for _, info in entries], metadata


def _check_offsets(path: Path, entries: list, data_bytes: int) -> None:
    position = 0
    for (start, stop), info in entries:
        if start != position or stop < start or (info.dtype in _BYTES and stop - start != info.bytes):
            raise PersonaError(
                f"{path}: tensor {info.name!r} ({info.dtype}, shape {list(info.shape)}) does not fit its bytes "
                f"{start}..{stop}; the file is damaged, fetch or save it again"
            )
        position = stop
    if position != data_bytes:
        state = "truncated" if position > data_bytes else "longer than it should be"
        raise PersonaError(
            f"{path}: {state}: the header describes {position} bytes of tensors, the file has {data_bytes}; "
            "fetch or save it again"
        )
