"""What a folder of pictures says about itself: captions and masks in the Hugging Face ``imagefolder`` convention.

A folder may hold ``metadata.jsonl`` or ``metadata.csv`` (columns ``file_name``, ``text``, ``mask``), a ``<name>.txt``
caption beside ``<name>.jpg``, and ``masks/<name>.png``. Metadata goes before sidecar files.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import PersonaError
from .decoding import FOREIGN_SUFFIXES, SUFFIXES, one_line, sniff

FILE_COLUMNS = ("file_name", "image_file_name")
CAPTION_COLUMNS = ("text", "caption", "prompt")
MASK_COLUMNS = ("mask", "mask_file_name")
_SIDECARS = frozenset(".txt .json .jsonl .csv .md".split())
_PROSE = ("readme", "license", "licence", "attribution", "credits", "reference")
_CAPTION_BYTES = 100_000


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One picture file with what its folder says of it; ``mask`` is a path."""

    path: Path
    caption: str | None = None
    mask: Path | None = None


def read_folder(folder: Path) -> tuple[list[Entry], list[str]]:
    """The pictures of a folder in the order of their names, and notes on files that are left out.

    Sub-folders are read only where the metadata names files in them.

    Raises:
        PersonaError: no pictures, or metadata that is malformed, ambiguous or leads out of the folder.
    """
    rows = read_metadata(folder)
    paths, notes = _pictures(folder)
    paths = sorted({*paths, *(folder / name for name in rows)})
    if not paths:
        raise PersonaError(_nothing_in(folder))
    if rows:
        notes += [f"{one_line(path.name)} is not in the metadata" for path in paths if _name(path, folder) not in rows]
    stems = {path.stem for path in paths}
    notes += _orphans(folder, "*.txt", stems, "a caption") + _orphans(folder / "masks", "*", stems, "a mask")
    masks = mask_files(folder / "masks")
    return [_entry(path, rows.get(_name(path, folder), {}), folder, masks) for path in paths], notes


def mask_files(folder: Path) -> dict[str, Path]:
    """Mask files of a folder by the name (without suffix) of the picture that they belong to."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}


def read_metadata(folder: Path) -> dict[str, dict]:
    """Rows of ``metadata.jsonl`` or ``metadata.csv`` by file name (posix, relative to the folder); {} without one.

    Raises:
        PersonaError: both files are there, a row is malformed or repeated, or a name leads out of the folder.
    """
    found = [folder / name for name in ("metadata.jsonl", "metadata.csv") if (folder / name).is_file()]
    if len(found) > 1:
        raise PersonaError(f"{folder} has both metadata.jsonl and metadata.csv: keep one of them")
    if not found:
        return {}
    rows = {}
    for number, row in _rows(found[0]):
        where = f"{found[0]} line {number}"
        name = _first(row, FILE_COLUMNS)
        if not isinstance(name, str):
            raise PersonaError(f"{where} has no file_name: write the picture's name relative to {folder}")
        name = _inside(name, where)
        if name in rows:
            raise PersonaError(f"{where} names {name} a second time: keep one row a picture")
        rows[name] = row | {"where": where}
    return rows


def _rows(path):
    try:
        if path.suffix == ".csv":
            with open(path, encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                yield from ((reader.line_num, row) for row in reader)
            return
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise PersonaError(f'{path} line {number} is not an object like {{"file_name": "1.png"}}')
                yield number, row
    except PersonaError:
        raise
    except (ValueError, RecursionError, csv.Error, OSError) as error:
        raise PersonaError(f"{path} can't be read ({one_line(error)}): write JSON lines or CSV") from error


def _first(row, columns):
    return next((row[column] for column in columns if row.get(column) not in (None, "")), None)


def _inside(name, where) -> str:
    """The posix form of a relative name; names that leave the folder are refused, links inside it are not followed."""
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0] or "\0" in name:
        raise PersonaError(f"{where} names {one_line(name)}, outside of the folder: name files inside it")
    return str(pure)


def _pictures(folder) -> tuple[list[Path], list[str]]:
    paths, notes = [], []
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        if path.is_dir() or path.name.startswith(".") or suffix in _SIDECARS:
            continue
        if suffix in SUFFIXES or suffix in FOREIGN_SUFFIXES or (path.is_file() and sniff(path)):
            paths.append(path)
        elif path.stem.lower() not in (*_PROSE, "thumbs", "desktop"):
            notes.append(f"{one_line(path.name)} is no picture and is left out")
    return paths, notes


def _orphans(folder, pattern, stems, what) -> list[str]:
    if not folder.is_dir():
        return []
    return [
        f"{one_line(path.name)} is {what} of no picture: give it the picture's name"
        for path in sorted(folder.glob(pattern))
        if path.stem not in stems and not path.name.startswith(".") and not path.stem.lower().startswith(_PROSE)
    ]


def _entry(path, row, folder, masks) -> Entry:
    caption, mask = _first(row, CAPTION_COLUMNS), _first(row, MASK_COLUMNS)
    for value in (caption, mask):
        if value is not None and not isinstance(value, str):
            raise PersonaError(f"{row['where']} has {one_line(value)} where a text is due: write a string")
    if caption is None and path.with_suffix(".txt").is_file():
        caption = _read_caption(path.with_suffix(".txt"))
    mask = folder / _inside(mask, row["where"]) if mask else masks.get(path.stem)
    return Entry(path=path, caption=caption, mask=mask)


def _read_caption(path) -> str | None:
    if path.stat().st_size > _CAPTION_BYTES:
        raise PersonaError(f"{path} is too long for a caption ({path.stat().st_size} bytes): write one sentence")
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split()) or None
    except (UnicodeDecodeError, OSError) as error:
        raise PersonaError(f"{path} is no UTF-8 text ({one_line(error)}): save the caption as UTF-8") from error


def _name(path, folder) -> str:
    return path.relative_to(folder).as_posix()


def _nothing_in(folder) -> str:
    inner = [path.name for path in sorted(folder.iterdir()) if path.is_dir() and path.name != "masks"]
    tip = f"its sub-folders are {', '.join(inner[:3])}: name one of them" if inner else "put 3 to 5 pictures there"
    return f"{folder} holds no picture (jpg, png, webp, bmp, gif, tiff): {tip}"
