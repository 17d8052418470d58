"""Tell what a file or folder is by its content: keys, shapes, metadata and first bytes, never by its name alone."""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import PersonaError
from .safetensors_header import TensorInfo, read_header
from .signatures import SIGNATURES, Signature

TEXT_WIDTHS = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 1280: "SDXL, second encoder"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What something on disk is.

    Attributes:
        path: the file or folder.
        kind: a short stable id, e.g. ``"concept"``, ``"lora"``, ``"textual-inversion"``, ``"pictures"``.
        title: the same in words.
        facts: named facts to show (rank, width, steps, ...).
        header: parsed JSON for a concept or a pipeline folder.
        tensors: of a safetensors file.
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
    licence: str | None = None
    next_step: str = ""
    parts: Sequence["Finding"] = ()


_MAGIC = (
    (b"PK\x03\x04", "pickle", "PyTorch zip archive (pickle)"),
    (b"\x80\x02", "pickle", "pickle"),
    (b"\x80\x04", "pickle", "pickle"),
    (b"GGUF", "gguf", "GGUF weights"),
)


def probe(path: str | os.PathLike) -> Finding:
    """Find out what `path` is.

    Args:
        path: a concept folder, a diffusers folder, a folder of pictures, a safetensors file, a picture, ...

    Returns:
        a `Finding`; `kind` is ``"unknown"`` when the content matches nothing known.

    Raises:
        PersonaError: the path does not exist, or it is damaged: one line that names it.
    """
    path = Path(path)
    if not path.exists():
        raise PersonaError(f"{path} does not exist; give a file or folder")
    return _probe_folder(path) if path.is_dir() else _probe_file(path)


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
    header = _read_json(folder / "concept.json")
    missing = [key for key in ("schema_version", "recipe", "token", "noun", "spaces") if key not in header]
    if missing:
        raise PersonaError(
            f"{folder / 'concept.json'} lacks {', '.join(missing)}: not a concept's header; save it again"
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise PersonaError(f"{folder} has a concept.json but no .safetensors file; save the concept again")
    _check_digest(folder, header)
    return Finding(
        path=folder,
        kind="concept",
        title=f"concept {header['token']} learned with {header['recipe']}",
        facts=_concept_facts(header),
        header=header,
        licence=header.get("licence"),
        parts=[_probe_file(file) for file in weights],
        next_step=f"persona generate {folder} --prompt 'a {{}} on the beach'",
    )


def _concept_facts(header: dict[str, Any]) -> dict[str, Any]:
    base, training = header.get("base_model") or {}, header.get("training") or {}
    curve = training.get("loss_curve") or []
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
        "pictures": len(training.get("images") or ()) or None,
        "finished": training.get("finished"),
        "consent": header.get("consent"),
        "made with": ", ".join(f"{name} {value}" for name, value in (header.get("versions") or {}).items()),
        "schema version": header["schema_version"],
    }


def _check_digest(folder: Path, header: dict[str, Any]) -> None:
    expected, file = header.get("tensors_sha256"), folder / "concept.safetensors"
    if expected and file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() != expected:
        raise PersonaError(f"{file}: the tensors are not those that concept.json describes; copy the folder again")


def _probe_or_damaged(path: Path) -> Finding:
    try:
        return _probe_file(path)
    except PersonaError as error:
        return Finding(path=path, kind="damaged", title=str(error))


def _probe_file(path: Path) -> Finding:
    with path.open("rb") as file:
        start = file.read(16)
    if path.suffix == ".safetensors" or (start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000):
        return _weights(path)
    for magic, kind, title in _MAGIC:
        if start.startswith(magic):
            step = (
                "not opened: unpickling runs code; convert it to safetensors where you trust it"
                if kind == "pickle"
                else ""
            )
            return Finding(path=path, kind=kind, title=title, facts={"bytes": path.stat().st_size}, next_step=step)
    if picture := _picture(path):
        return picture
    if start.lstrip()[:1] in (b"{", b"[") and path.suffix in (".json", ".jsonl"):
        return Finding(path=path, kind="json", title="JSON", facts={"bytes": path.stat().st_size})
    return Finding(path=path, kind="unknown", title="unknown file", facts={"bytes": path.stat().st_size})


def _picture(path: Path) -> Finding | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            facts = {"size": f"{picture.width}x{picture.height}", "format": picture.format, "mode": picture.mode}
            try:
                picture.load()
            except (OSError, ValueError, SyntaxError) as error:
                raise PersonaError(
                    f"{path}: damaged {picture.format} picture ({error}); replace or remove it"
                ) from None
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return None
    return Finding(path=path, kind="picture", title=f"{facts['format']} picture", facts=facts)


def _weights(path: Path) -> Finding:
    tensors, metadata = read_header(path)
    facts: dict[str, Any] = {
        "tensors": len(tensors),
        "bytes": path.stat().st_size,
        "types": ", ".join(sorted({info.dtype for info in tensors})),
    }
    licence = next((metadata[key] for key in ("license", "licence", "modelspec.license") if key in metadata), None)
    facts |= {f"metadata {key}": " ".join(value.split())[:100] for key, value in sorted(metadata.items())[:12]}
    names = [info.name for info in tensors]
    for signature in SIGNATURES:
        if _matches(signature, names):
            kind, title, step = signature.kind, signature.title, signature.next_step
            facts |= _adapter_facts(tensors)
            break
    else:
        kind, title, step, more = _embedding(tensors)
        facts |= more
    return Finding(path=path, kind=kind, title=title, facts=facts, tensors=tensors, licence=licence, next_step=step)


def _matches(signature: Signature, names: Sequence[str]) -> bool:
    if signature.every:
        return bool(names) and all(any(re.search(pattern, name) for pattern in signature.keys) for name in names)
    return all(any(re.search(pattern, name) for name in names) for pattern in signature.keys)


def _embedding(tensors: Sequence[TensorInfo]) -> tuple[str, str, str, dict[str, Any]]:
    """Textual Inversion files are one or two small matrices of the text encoders' width, whatever they are called."""
    small = tensors and all(len(info.shape) in (1, 2) and info.shape[0] <= 4096 for info in tensors)
    names = {info.name for info in tensors}
    is_sdxl = names == {"clip_l", "clip_g"}
    if small and (
        is_sdxl or (len(tensors) == 1 and (_looks_like_token(tensors[0]) or tensors[0].name == "emp_params"))
    ):
        vectors = tensors[0].shape[0] if len(tensors[0].shape) == 2 else 1
        width = tensors[0].shape[-1]
        base = "SDXL" if is_sdxl else TEXT_WIDTHS.get(width, f"a text encoder of width {width}")
        facts = {"token": ", ".join(sorted(names)), "vectors": vectors, "width": width, "for": base}
        return (
            "textual-inversion",
            "Textual Inversion embedding",
            "pipe.load_textual_inversion(...) in diffusers",
            facts,
        )
    return "unknown", "safetensors file with unknown keys", "", {}


def _looks_like_token(info: TensorInfo) -> bool:
    is_word = "." not in info.name and info.name not in ("weight", "bias")
    return is_word and (info.shape[-1] in TEXT_WIDTHS or info.name.startswith("<"))


def _adapter_facts(tensors: Sequence[TensorInfo]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    down = [info for info in tensors if re.search(r"(lora_A(\.\w+)?|lora[._]down)\.weight$", info.name) and info.shape]
    if down:
        facts["rank"] = ", ".join(str(rank) for rank in sorted({info.shape[0] for info in down}))
        facts["layers"] = len(down)
        facts["text encoder too"] = any(re.search(r"(^|\.)(text_encoder|lora_te)", info.name) for info in down)
    widths = {
        info.shape[-1] for info in tensors if re.search(r"attn2[._].*to_k.*(lora_A|down|custom_diff)", info.name)
    }
    bases = [TEXT_WIDTHS[width] for width in sorted(widths) if width in TEXT_WIDTHS]
    if bases:
        facts["for"] = ", ".join(bases)
    elif any("single_transformer_blocks" in info.name for info in tensors):
        facts["for"] = "FLUX"
    return facts


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise PersonaError(f"{path} is not valid JSON ({error}); save it again") from None
    if not isinstance(value, dict):
        raise PersonaError(f"{path} should hold a JSON object; it holds a {type(value).__name__}")
    return value
