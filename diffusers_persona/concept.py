"""Concept: the learned thing, one folder on disk or on the Hub, whatever recipe made it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from pathlib import Path

from .errors import PersonaError
from .files import png, write_whole

SCHEMA_VERSION = 1
HEADER_FILE, TENSOR_FILE, CARD_FILE, PREVIEW_FOLDER = "concept.json", "concept.safetensors", "README.md", "previews"
MOST_HEADER_BYTES = 4 << 20
REQUIRED = {"schema_version": int, "recipe": str, "token": str, "noun": str, "spaces": list}


class Concept:
    """Tensors in one or several inversion spaces, and the header that tells what they are.

    Attributes:
        header: what ``concept.json`` holds: recipe and numbers, token, noun, spaces, base model, training record,
            licence, consent, library versions. Plain JSON values.
        tensors: ``"<index of the space>.<kind>.<name>"`` -> float tensor.
        previews: pictures (PIL) that show the concept.
    """

    def __init__(self, *, header: dict, tensors: dict, previews=()):
        self.header = header
        self.tensors = {name: tensors[name] for name in sorted(tensors)}
        self.previews = list(previews)
        self.spaces = [_space(i, entry, header) for i, entry in enumerate(header["spaces"])]

    # ------------------------------------------------------------------------------------------------------ what it is

    @property
    def token(self) -> str:
        """The word that stands for the concept."""
        return self.header["token"]

    @property
    def noun(self) -> str:
        """The class word."""
        return self.header["noun"]

    @property
    def phrase(self) -> str:
        """What to write in a prompt: ``"<toy>"`` or ``"sks dog"``."""
        return self.header.get("phrase") or self.token

    @property
    def digest(self) -> str:
        """Digest of the tensors: equal for equal concepts."""
        digest = hashlib.sha256()
        for name, tensor in self.tensors.items():
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).float().numpy().tobytes())
        return digest.hexdigest()

    def tensors_of(self, index: int, device=None) -> dict:
        """The tensors of space number `index`, named as the space names them."""
        prefix = f"{index}.{self.spaces[index].kind}."
        return {k.removeprefix(prefix): v.to(device) for k, v in self.tensors.items() if k.startswith(prefix)}

    def __repr__(self):
        kinds = "+".join(space.kind for space in self.spaces)
        return (
            f"Concept({self.phrase!r}, recipe={self.header['recipe']!r}, space={kinds}, tensors={len(self.tensors)})"
        )

    # ---------------------------------------------------------------------------------------------------------- in use

    def attach(self, pipe, scale: float = 1.0, region=None, window: tuple[float, float] = (0.0, 1.0)):
        """Puts the concept to work in a stock pipeline.

        Args:
            pipe: a diffusers pipeline of the family that the concept was learned on.
            scale: strength; 0 is the stock model, 1 the concept as learned.
            region: reserved for spaces that act in a part of the picture; none of this concept's spaces does.
            window: part of the denoising in which the concept acts, from 0 (pure noise) to 1 (picture).

        Returns:
            An `Attachment`, also a context manager.

        Raises:
            PersonaError: when the concept does not fit the pipeline, or a space has no region or window.
        """
        from .attachment import Attachment

        if region is not None:
            kinds = ", ".join(space.kind for space in self.spaces)
            raise PersonaError(f"a concept in {kinds} space acts on the whole picture; attach it without region=")
        return Attachment(self, pipe, scale, tuple(window))

    def _entry(self):
        from .recipe import get

        try:
            return get(self.header["recipe"])
        except PersonaError:
            return None

    # --------------------------------------------------------------------------------------------------------- on disk

    def save_pretrained(self, folder) -> Path:
        """Writes the concept's folder: header, tensors, card, previews, and the stock files that its spaces have.

        Each file is replaced in one piece, the header last: an interrupted save is noticed when reading.
        """
        from safetensors.torch import save

        from . import card
        from .formats import diffusers as stock

        folder = Path(folder)
        payload = save({k: v.contiguous() for k, v in self.tensors.items()}, metadata={"format": "pt"})
        header = dict(self.header, tensors_sha256=hashlib.sha256(payload).hexdigest())
        beside = stock.files(self) | {
            f"{PREVIEW_FOLDER}/{n:02d}.png": png(picture) for n, picture in enumerate(self.previews)
        }
        for name, content in beside.items():
            write_whole(folder / name, content)
        write_whole(folder / CARD_FILE, card.render_card(header, files=list(beside), entry=self._entry()).encode())
        write_whole(folder / TENSOR_FILE, payload)
        write_whole(folder / HEADER_FILE, json.dumps(header, indent=2, sort_keys=True, default=list).encode())
        return folder

    @classmethod
    def from_pretrained(cls, name, *, revision: str | None = None, token=None, cache_dir=None) -> Concept:
        """Reads a concept from a folder, or from a repository on the Hub.

        Raises:
            PersonaError: for a missing, damaged or half-written concept; nothing in it is ever executed.
        """
        folder = Path(name)
        if not folder.is_dir():
            folder = _download(str(name), revision, token, cache_dir)
        header = read_header(folder / HEADER_FILE)
        payload = _read(folder / TENSOR_FILE)
        expected = header.pop("tensors_sha256", None)
        if expected is not None and hashlib.sha256(payload).hexdigest() != expected:
            raise PersonaError(
                f"{folder / TENSOR_FILE}: the tensors are not those of {HEADER_FILE} (a damaged file "
                "or an interrupted save); "
                "copy the folder again, or learn with resume"
            )
        return cls(header=header, tensors=_tensors(payload, folder / TENSOR_FILE), previews=_previews(folder))


def read_header(path: Path) -> dict:
    """The checked content of a ``concept.json``.

    Raises:
        PersonaError: naming the file and the key that is missing or of the wrong type.
    """
    if path.exists() and path.stat().st_size > MOST_HEADER_BYTES:
        raise PersonaError(f"{path}: {path.stat().st_size} bytes are too many for a header; this is no concept")
    try:
        header = json.loads(_read(path))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise PersonaError(f"{path}: not a readable JSON header ({error}); copy the folder again") from error
    if not isinstance(header, dict):
        raise PersonaError(f"{path}: the header is no JSON object; this is no concept")
    for key, kind in REQUIRED.items():
        if not isinstance(header.get(key), kind):
            raise PersonaError(
                f"{path}: key {key!r} is missing or not of type {kind.__name__}; this is no concept of ours"
            )
    if header["schema_version"] > SCHEMA_VERSION:
        raise PersonaError(
            f"{path}: schema version {header['schema_version']} is newer than this library; upgrade diffusers-persona"
        )
    return header


def _space(index, entry, header):
    from .spaces import KINDS

    if not isinstance(entry, dict) or entry.get("kind") not in KINDS:
        raise PersonaError(
            f"space number {index} of the concept is of unknown kind {entry!r:.80}; upgrade diffusers-persona"
        )
    space = KINDS[entry["kind"]]
    fields = {field.name for field in dataclasses.fields(space)}
    try:
        declared = space(**{k: v for k, v in entry.items() if k in fields})
    except (TypeError, PersonaError) as error:
        raise PersonaError(f"space number {index} of the concept is not valid: {error}") from error
    if declared.adds_token and declared.token is None:
        declared = dataclasses.replace(declared, token=header["token"])
    return declared


def _tensors(payload: bytes, path: Path) -> dict:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        if len(payload) < 8 or struct.unpack("<Q", payload[:8])[0] > len(payload):
            raise SafetensorError("the header is longer than the file")
        tensors = load(payload)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise PersonaError(f"{path}: not a readable safetensors file ({error}); copy it again") from error
    for key, tensor in tensors.items():
        if not torch.is_floating_point(tensor) or not torch.isfinite(tensor).all():
            raise PersonaError(f"{path}: key {key!r} holds values that are not finite numbers; learn the concept anew")
    if not tensors:
        raise PersonaError(f"{path}: the file holds no tensor; this is no concept")
    return tensors


def _previews(folder: Path):
    from PIL import Image

    pictures = []
    for path in sorted((folder / PREVIEW_FOLDER).glob("*.png")):
        with Image.open(path) as picture:
            pictures.append(picture.convert("RGB"))
    return pictures


def _download(name, revision, token, cache_dir) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = [HEADER_FILE, TENSOR_FILE, f"{PREVIEW_FOLDER}/*.png"]
        return Path(
            snapshot_download(name, revision=revision, token=token, cache_dir=cache_dir, allow_patterns=patterns)
        )
    except HFValidationError as error:
        raise PersonaError(
            f"{name}: neither a folder nor a repository id like 'user/concept'; check the path"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise PersonaError(
            f"{name}: no such folder, and the Hub gave no concept ({reason}); check the name or the network"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PersonaError(f"{path}: cannot be read ({error.strerror}); is this a concept's folder?") from error
