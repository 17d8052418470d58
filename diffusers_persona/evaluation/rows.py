"""Result rows of a benchmark: JSON lines, one file a recipe, one row a (recipe, concept, seed) cell.

Safe for several processes: a row is added under a file lock by replacing the whole file, so a reader sees either the
old rows or the new ones, and a killed run leaves only finished rows.
"""

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diffusers_persona.errors import PersonaError
from diffusers_persona.files import write_whole

SCHEMA = 1


def row_key(facts: dict[str, Any]) -> str:
    """Digest of everything a row's scores depend on: equal facts, equal key (16 hexadecimal digits)."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def file_digest(paths: Iterable[Path]) -> str:
    """Digest of the contents of files, in sorted order of their paths; names do not matter (16 hexadecimal digits)."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


class RowStore:
    """The rows of one benchmark in a folder: `<folder>/<recipe>.jsonl`."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, recipe: str) -> Path:
        """The file of a recipe's rows."""
        return self.folder / f"{recipe}.jsonl"

    def rows(self, recipe: str | None = None) -> list[dict[str, Any]]:
        """Rows of one recipe, or of all, in the order of file name and line."""
        paths = [self.path(recipe)] if recipe else sorted(self.folder.glob("*.jsonl"))
        return [row for path in paths if path.exists() for row in self._read(path)]

    def put(self, row: dict[str, Any]) -> None:
        """Stores a row in place of an older one of the same (recipe, concept, seed) cell."""
        path = self.path(row["recipe"])
        with self._locked():
            kept = [other for other in self.rows(row["recipe"]) if _cell(other) != _cell(row)]
            ordered = sorted([*kept, row], key=_cell)
            write_whole(path, "".join(json.dumps(each, allow_nan=False) + "\n" for each in ordered).encode())

    @contextlib.contextmanager
    def _locked(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _read(path: Path) -> list[dict[str, Any]]:
        rows = []
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            try:
                row = json.loads(line)
                _cell(row), row["key"]
            except (ValueError, KeyError, TypeError) as error:
                raise PersonaError(
                    f"{path}, line {number}: not a result row ({type(error).__name__}: {error}); delete the line and "
                    "run again."
                ) from None
            rows.append(row)
        return rows


def _cell(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["recipe"], row["concept"], row["seed"]
