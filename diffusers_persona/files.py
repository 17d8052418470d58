"""Files that are whole or absent, and folders with one writer."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
from pathlib import Path

from .errors import PersonaError

PART = ".part"


def write_whole(path: Path, content: bytes):
    """Writes `content` to `path` in one piece: a reader sees the old file or the new one, never a part.

    Raises:
        PersonaError: when the disk is full or the folder is read-only; the old file is untouched.
    """
    write_together(path.parent, {path.name: content})


def write_together(folder: Path, contents: dict[str, bytes]):
    """Writes several files (relative name -> content) into `folder`, in this order: all of them, or none.

    Nothing is replaced before every byte is on the disk, so that want of room harms no older file.

    Raises:
        PersonaError: when the disk is full or the folder is read-only; the old files are untouched.
    """
    parts: dict[Path, Path] = {}
    path = folder
    try:
        try:
            for name, content in contents.items():
                path = folder / name
                parts[path] = part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(part, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            for path, part in parts.items():
                os.replace(part, path)
        finally:
            for part in parts.values():
                with contextlib.suppress(OSError):
                    part.unlink()
    except OSError as error:
        raise PersonaError(
            f"{path}: cannot be written ({error.strerror}); free space or choose another folder"
        ) from error


def png(picture) -> bytes:
    """The PNG file of a PIL picture, for `write_whole`."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


@contextlib.contextmanager
def only_writer(folder: Path):
    """Holds `folder` for this process while the context lasts; what a killed writer left half-written is removed.

    Raises:
        PersonaError: when another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")
    except OSError as error:
        raise PersonaError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PersonaError(
                f"{folder}: another process is learning into this folder; wait for it or choose another"
            ) from error
        for left in folder.rglob(f".*{PART}"):
            left.unlink(missing_ok=True)
        yield
