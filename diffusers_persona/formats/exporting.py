"""From a concept to other people's files."""

from __future__ import annotations

from pathlib import Path

from ..errors import PersonaError
from ..files import write_together
from .base import names_for, writers
from .contents import SUFFIXES
from .registry import formats

STOCK, SAFE = "diffusers", ".safetensors"


def stock_files(concept) -> dict[str, bytes]:
    """File name -> content of each file of `concept` in a layout of stock diffusers; spaces without one are left out.

    Safetensors only: a concept's folder holds no pickle.
    """
    found: dict[str, bytes] = {}
    for each in writers(concept, STOCK, formats()):
        found |= each.files(concept, suffix=SAFE)
    return found


def export(concept, name: str, path, *, pipe=None) -> list[Path]:
    """Writes `concept` in the format `name`; all files or none.

    Args:
        concept: any concept.
        name: ``"diffusers"``, ``"a1111"``, ``"kohya"``, ``"original"``, ...: those of `Format.writes`.
        path: a folder; or, when the format writes one file, a file with one of the format's suffixes.
        pipe: a pipeline, for formats that write a whole model.

    Returns:
        The files written.

    Raises:
        PersonaError: the format can't hold every space of the concept (the message names those that can), or it has
            no file of this suffix.
    """
    path, chosen = Path(path), writers(concept, name, formats())
    kinds = {space.kind for space in concept.spaces}
    if {kind for each in chosen for kind in each.held(kinds)} != kinds:
        return _refuse(concept, name, kinds)
    suffix = path.suffix if path.suffix in SUFFIXES and not path.is_dir() else None
    allowed = list(dict.fromkeys(s for each in chosen for s in each.suffixes))
    if suffix is not None and suffix not in allowed:
        raise PersonaError(
            f"{path}: format {name!r} writes {', '.join(allowed)}, not {suffix}; rename it or give a folder"
        )
    files: dict[str, bytes] = {}
    for each in chosen:
        written = each.files(concept, suffix=suffix if suffix in each.suffixes else None, pipe=pipe)
        if not written:
            return _refuse(concept, name, each.held(kinds))
        files |= written
    if suffix is not None and len(files) > 1:
        raise PersonaError(
            f"{path}: format {name!r} writes {len(files)} files here ({', '.join(files)}); give a folder"
        )
    folder, files = (path, files) if suffix is None else (path.parent, {path.name: next(iter(files.values()))})
    write_together(folder, files)
    return [folder / file for file in files]


def _refuse(concept, name, kinds):
    known = list(dict.fromkeys(n for each in formats() for n in each.writes))
    if name not in known:
        raise PersonaError(f"format {name!r} is unknown; formats that are written: {', '.join(known)}")
    possible = [n for n in names_for(concept, formats()) if n != name]
    has = f"it has: {', '.join(possible)}" if possible else "it has no format but its own: use save_pretrained"
    raise PersonaError(f"a concept in {' + '.join(sorted(kinds))} space can't be written as {name!r}; {has}")


def as_safetensors(source, path) -> Path:
    """Writes the tensors of a file under the keys that they have there as safetensors; plain values become metadata.

    Raises:
        PersonaError: the source is no file of weights, it holds no tensor, or `path` does not end in ``.safetensors``.
    """
    import json

    from safetensors.torch import save

    from .contents import read

    path, contents = Path(path), read(source)
    if path.suffix != ".safetensors":
        raise PersonaError(f"{path}: tensors are written as .safetensors only; name such a file, or give --to FORMAT")
    if not contents.infos:
        raise PersonaError(f"{source}: there is no tensor in this file; nothing to convert")
    tensors = {key: value.contiguous().clone() for key, value in contents.tensors.items()}
    notes = {key: value if isinstance(value, str) else json.dumps(value) for key, value in contents.extra.items()}
    metadata = {"format": "pt"} | notes | dict(contents.metadata)
    write_together(path.parent, {path.name: save(tensors, metadata=metadata)})
    return path
