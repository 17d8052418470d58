"""Tell what a file or folder is by its content: keys, shapes, metadata and first bytes, never by its name alone."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..concept import read_header as read_concept_header
from ..errors import PersonaError
from .base import Hints, LoadReport, recognise
from .base import load as load_contents
from .contents import PICKLE, Contents, is_safetensors, read
from .pickles import RefusedError, is_pickle
from .registry import formats
from .safetensors_header import TensorInfo
from .text_embeddings import LICENCE_KEYS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What something on disk is.

    Attributes:
        path: the file or folder.
        kind: a short stable id, e.g. ``"concept"``, ``"lora"``, ``"textual-inversion"``, ``"pictures"``.
        title: the same in words.
        facts: named facts to show (rank, width, steps, ...).
        header: parsed JSON for a concept or a pipeline folder.
        tensors: of a file of weights.
        report: what becomes of its keys when it is loaded as a concept, where that was asked for.
        licence: as stated inside, or None.
        next_step: one line that says how to use it.
        parts: findings of the files inside a folder.
    """

    path: Path
    kind: str
    title: str
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    header: dict[str, Any] = dataclasses.field(default_factory=dict)
    tensors: Sequence[TensorInfo] = ()
    report: LoadReport | None = None
    licence: str | None = None
    next_step: str = ""
    parts: Sequence["Finding"] = ()


def probe(path: str | os.PathLike, *, load: bool = False) -> Finding:
    """Find out what `path` is.

    Args:
        path: a concept folder, a diffusers folder, a folder of pictures, a file of weights, a picture, ...
        load: also load a file of weights that is a concept, for the report of its keys. Needs torch, and its tensors.

    Returns:
        a `Finding`; `kind` is ``"unknown"`` when the content matches nothing known.

    Raises:
        PersonaError: the path does not exist, or it is damaged: one line that names it.
    """
    path = Path(path)
    if not path.exists():
        raise PersonaError(f"{path} does not exist; give a file or folder")
    return _probe_folder(path) if path.is_dir() else _probe_file(path, load)


def _probe_folder(folder: Path) -> Finding:
    if (folder / "concept.json").is_file():
        return _concept(folder)
    if (folder / "model_index.json").is_file():
        index = _read_json(folder / "model_index.json")
        parts = {
            name: value[-1]
            for name, value in index.items()
            if isinstance(value, list) and value and value[-1] and not name.startswith("_")
        }
        return Finding(
            path=folder,
            kind="pipeline",
            title=f"diffusers pipeline {index.get('_class_name')}",
            facts={"diffusers": index.get("_diffusers_version"), **parts},
            header=index,
            next_step=f"persona learn PICTURES --base {folder} --recipe lora --noun dog",
        )
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    findings = [_probe_or_damaged(file) for file in files]
    pictures = [finding for finding in findings if finding.kind == "picture"]
    if pictures:
        sizes = sorted({finding.facts["size"] for finding in pictures})
        return Finding(
            path=folder,
            kind="pictures",
            title=f"folder of {len(pictures)} pictures",
            facts={
                "pictures": len(pictures),
                "sizes": ", ".join(sizes[:8]),
                "damaged": sum(finding.kind == "damaged" for finding in findings),
                "other files": sum(finding.kind not in ("picture", "damaged") for finding in findings),
            },
            parts=findings,
            next_step=f"persona learn {folder} --noun dog",
        )
    known = [finding for finding in findings if finding.kind not in ("unknown", "json", "damaged")]
    if not known:
        return Finding(
            path=folder, kind="unknown", title="folder without anything known", facts={"files": len(findings)}
        )
    title = "folder with " + ", ".join(dict.fromkeys(finding.title for finding in known))
    return Finding(path=folder, kind="folder", title=title, parts=known, next_step=known[0].next_step)


def _concept(folder: Path) -> Finding:
    header = read_concept_header(folder / "concept.json")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise PersonaError(f"{folder} has a concept.json but no .safetensors file; save the concept again")
    _check_digest(folder, header)
    return Finding(
        path=folder,
        kind="concept",
        title=f"concept {header['token']} "
        + ("imported from another format" if header.get("provenance") else f"learned with {header['recipe']}"),
        facts=_concept_facts(header),
        header=header,
        licence=header.get("licence"),
        parts=[_probe_file(file) for file in weights],
        next_step=f"persona generate {folder} --prompt 'a {{}} on the beach'",
    )


def _concept_facts(header: dict[str, Any]) -> dict[str, Any]:
    base, training = header.get("base_model") or {}, header.get("training") or {}
    curve, pictures = (_list(training.get(key)) for key in ("loss_curve", "images"))
    return {
        "recipe": header["recipe"],
        "prompt phrase": header.get("phrase") or header["token"],
        "noun, kind": f"{header['noun']}, {header.get('kind', 'unknown')}",
        "spaces": ", ".join(str(space.get("kind")) for space in header["spaces"] if isinstance(space, dict)),
        "base model": ", ".join(str(base[key]) for key in ("name", "family", "pipeline") if base.get(key)),
        "its fingerprint": base.get("fingerprint"),
        "numbers": ", ".join(f"{name}={json.dumps(value)}" for name, value in (header.get("numbers") or {}).items()),
        "training": ", ".join(
            f"{k} {training[k]}" for k in ("steps", "seconds", "seed", "precision") if k in training
        ),
        "loss": f"{curve[0]} to {curve[-1]}" if curve else None,
        "pictures": len(pictures) or None,
        "finished": training.get("finished"),
        "provenance": header.get("provenance"),
        "consent": header.get("consent"),
        "made with": ", ".join(f"{name} {value}" for name, value in (header.get("versions") or {}).items()),
        "schema version": header["schema_version"],
    }


def _list(value) -> list:
    return value if isinstance(value, list) else []


def _check_digest(folder: Path, header: dict[str, Any]) -> None:
    expected, file = header.get("tensors_sha256"), folder / "concept.safetensors"
    if expected and file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() != expected:
        raise PersonaError(f"{file}: the tensors are not those that concept.json describes; copy the folder again")


def _probe_or_damaged(path: Path) -> Finding:
    try:
        return _probe_file(path)
    except PersonaError as error:
        return Finding(path=path, kind="damaged", title=str(error))


def _probe_file(path: Path, load: bool = False) -> Finding:
    size = {"bytes": path.stat().st_size}
    if is_pickle(path) or is_safetensors(path):
        return _weights(path, load)
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"GGUF"):
        return Finding(path=path, kind="gguf", title="GGUF weights", facts=size)
    if picture := _picture(path):
        return picture
    if start.lstrip()[:1] in (b"{", b"[") and path.suffix in (".json", ".jsonl"):
        return Finding(path=path, kind="json", title="JSON", facts=size)
    return Finding(path=path, kind="unknown", title="unknown file", facts=size)


def _picture(path: Path) -> Finding | None:
    from PIL import Image

    from ..inversion.decoding import FORMATS, decode, sniff

    if sniff(path) is None:
        return None
    try:
        decode(path)
        with Image.open(path, formats=FORMATS) as picture:
            facts = {"size": f"{picture.width}x{picture.height}", "format": picture.format, "mode": picture.mode}
    except PersonaError as error:
        raise PersonaError(f"{path}: this picture is {error}") from None
    return Finding(path=path, kind="picture", title=f"{facts['format']} picture", facts=facts)


def _weights(path: Path, load: bool) -> Finding:
    try:
        contents = read(path)
    except RefusedError as error:
        return Finding(
            path=path,
            kind="pickle",
            title="PyTorch file that is not opened",
            facts={"bytes": path.stat().st_size, "refused": str(error).removeprefix(f"{path}: ")},
            next_step="unpickling it would run code; where you trust it, save its tensors as safetensors",
        )
    found = recognise(contents, formats())
    facts = _common_facts(contents)
    if found is None:
        kind, title = "unknown", f"{_CONTAINER[contents.container]} with unknown keys"
    else:
        kind, title = found.kind, found.title
        facts |= found.facts(contents) if found.facts is not None else {}
    report, more = _report(contents) if load and found is not None and found.load is not None else (None, {})
    return Finding(
        path=path,
        kind=kind,
        title=title,
        facts=facts | more,
        tensors=list(contents.infos.values()),
        report=report,
        licence=next((contents.metadata[k] for k in LICENCE_KEYS if k in contents.metadata), None),
        next_step=found.next_step if found is not None else "",
    )


_CONTAINER = {PICKLE: "PyTorch file (opened by the restricted reader)", "safetensors": "safetensors file"}


def _common_facts(contents: Contents) -> dict[str, Any]:
    infos = contents.infos.values()
    facts: dict[str, Any] = {
        "container": _CONTAINER[contents.container],
        "tensors": len(infos),
        "bytes": contents.path.stat().st_size,
        "types": ", ".join(sorted({info.dtype for info in infos})),
    }
    shown = sorted(contents.metadata.items())[:12]
    return facts | {f"metadata {key}": " ".join(value.split())[:100] for key, value in shown}


def _report(contents: Contents) -> tuple[LoadReport | None, dict[str, Any]]:
    try:
        report = load_contents(contents, Hints(), formats())[1].report
    except PersonaError as error:
        return None, {"cannot be loaded": str(error).removeprefix(f"{contents.path}: ")}
    return report, {"keys": str(report)}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise PersonaError(f"{path} is not valid JSON ({error}); save it again") from None
    if not isinstance(value, dict):
        raise PersonaError(f"{path} should hold a JSON object; it holds a {type(value).__name__}")
    return value
