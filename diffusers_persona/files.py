"""Files that are whole or absent, and folders with one writer."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
from pathlib import Path

from .errors import PersonaError


def write_whole(path: Path, content: bytes):
    """Writes `content` to `path` in one piece: a reader sees the old file or the new one, never a part.

    Raises:
        PersonaError: when the disk is full or the folder is read-only; the old file is untouched.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
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
    """Holds `folder` for this process while the context lasts.

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
        yield
