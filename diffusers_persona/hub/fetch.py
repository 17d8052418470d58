"""From the Hub: a concept's files through the cache, or copied into a folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from ..errors import DamagedError, PersonaError
from .failures import explained

WHOLE_CONCEPT = ("concept.json", "README.md", "scores.json", "*.safetensors", "previews/*.png")
NOT_A_CONCEPT = ("*/*.safetensors", "previews/*/*")
Read = TypeVar("Read")


def fetch_and(
    read: Callable[[Path], Read],
    repo: str,
    *,
    files: Sequence[str],
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir=None,
) -> Read:
    """Brings `files` of a repository into the cache and returns what `read` makes of the folder.

    A cached file that turns out to be damaged is fetched again, once.

    Args:
        read: called with the folder of the snapshot.
        repo: ``"user/concept"``.
        files: patterns of the files that are needed; nothing else is fetched.
        revision: branch, tag or commit; the main branch when left out.
        token: of the Hub; the logged-in one when left out.
        cache_dir: in place of the Hub's cache.

    Raises:
        PersonaError: in one line, when the name, the network, the token or the disk is the reason.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise PersonaError(f"{repo}: no such folder, and not a repository id like 'user/concept'; check the path")

    def folder(again: bool) -> Path:
        from huggingface_hub import snapshot_download

        with explained(f"{repo}: no such folder, and not read from the Hub", token):
            place = snapshot_download(
                repo,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                allow_patterns=list(files),
                ignore_patterns=list(NOT_A_CONCEPT),
                force_download=again,
            )
        if not (Path(place) / files[0]).is_file():
            at = f" at {revision}" if revision else ""
            raise PersonaError(
                f"{repo}: the repository holds no {files[0]}{at}, so it is no concept of this library; "
                "load it with the function that its card names"
            )
        return Path(place)

    try:
        return read(folder(again=False))
    except DamagedError:
        return read(folder(again=True))


def pull(repo: str, folder, *, revision: str | None = None, token: str | bool | None = None, cache_dir=None) -> Path:
    """Copies a concept from the Hub into a new folder: header, tensors, card, previews and stock files.

    The concept is read and checked first; the folder is written whole or not at all.

    Args:
        repo: ``"user/concept"``.
        folder: a folder that is empty or not there yet.
        revision: branch, tag or commit; the main branch when left out.
        token: of the Hub; the logged-in one when left out.
        cache_dir: in place of the Hub's cache.

    Returns:
        The folder.

    Raises:
        PersonaError: as for `fetch_and`, or when the folder holds something already.
    """
    from ..concept import Concept
    from ..files import write_together

    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise PersonaError(f"{folder}: there is something already; name a new folder for {repo}")

    def checked(snapshot: Path) -> dict[str, bytes]:
        Concept.from_pretrained(snapshot)
        paths = {path.relative_to(snapshot).as_posix(): path for path in snapshot.rglob("*") if path.is_file()}
        wanted = {name: path for name, path in paths.items() if _belongs(name)}
        last = {"concept.json": wanted.pop("concept.json")}
        return {name: path.read_bytes() for name, path in (wanted | last).items()}

    contents = fetch_and(checked, repo, files=WHOLE_CONCEPT, revision=revision, token=token, cache_dir=cache_dir)
    write_together(folder, contents)
    return folder


def _belongs(name: str) -> bool:
    """Whether a file of a snapshot is the concept's own; other programmes may have put more there."""
    allowed, forbidden = (
        any(fnmatchcase(name, pattern) for pattern in patterns) for patterns in (WHOLE_CONCEPT, NOT_A_CONCEPT)
    )
    return allowed and not forbidden
