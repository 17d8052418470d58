"""Concept: the learned thing, one folder on disk or on the Hub, whatever recipe made it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import DamagedError, PersonaError
from .files import png, write_together

if TYPE_CHECKING:
    from .formats.base import LoadReport

SCHEMA_VERSION = 1
HEADER_FILE, TENSOR_FILE, CARD_FILE, PREVIEW_FOLDER = "concept.json", "concept.safetensors", "README.md", "previews"
SCORES_FILE = "scores.json"
MOST_HEADER_BYTES = 4 << 20
REQUIRED = {"schema_version": int, "recipe": str, "token": str, "noun": str, "spaces": list}
OPTIONAL = {"phrase": str, "kind": str, "numbers": dict, "base_model": dict, "training": dict, "versions": dict}
OPTIONAL |= {"negative": str, "licence": str, "consent": str, "tensors_sha256": str}
MOST_PREVIEW_PIXELS = 2048 * 2048


class Concept:
    """Tensors in one or several inversion spaces, and the header that tells what they are.

    Attributes:
        header: what ``concept.json`` holds: recipe and numbers, token, noun, spaces, base model, training record,
            licence, consent, library versions. Plain JSON values.
        tensors: ``"<index of the space>.<kind>.<name>"`` -> float tensor.
        previews: pictures (PIL) that show the concept.
        scores: measured numbers, name -> value; shown in the card.
        report: matched, unused and missing keys of a concept from somebody else's file, else None.
    """

    def __init__(self, *, header: dict, tensors: dict, previews=(), scores=None):
        self.header = header
        self.tensors = {name: tensors[name] for name in sorted(tensors)}
        self.previews = list(previews)
        self.scores = dict(scores or {})
        self.spaces = [_space(i, entry, header) for i, entry in enumerate(header["spaces"])]
        self.report: LoadReport | None = None

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
    def negative(self) -> str:
        """The negative prompt that belongs to the concept; empty for most."""
        return self.header.get("negative") or ""

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
            region: part of the picture that the concept is drawn into: a box (left, top, right, bottom) as parts of
                the picture's sides, or a mask [height, width] (a tensor in [0, 1]); for spaces that can
                (`text_residual`).
            window: part of the denoising in which the concept acts, from 0 (pure noise) to 1 (picture).

        Returns:
            An `Attachment`, also a context manager.

        Raises:
            PersonaError: when the concept does not fit the pipeline, or a space has no region or window.
        """
        from .attachment import Attachment

        if region is not None and not any(getattr(space, "regional", False) for space in self.spaces):
            kinds = ", ".join(space.kind for space in self.spaces)
            raise PersonaError(f"a concept in {kinds} space acts on the whole picture; attach it without region=")
        return Attachment(self, pipe, scale, tuple(window), region)

    def _entry(self):
        from .recipe import get

        try:
            return get(self.header["recipe"])
        except PersonaError:
            return None

    # --------------------------------------------------------------------------------------------------------- on disk

    def save_pretrained(self, folder) -> Path:
        """Writes the concept's folder: header, tensors, card, previews, and the stock files that its spaces have.

        All files are written before the first one is replaced, the header last: a full disk leaves an older concept
        as it was, and a save that is killed in between is noticed when reading.
        """
        folder = Path(folder)
        write_together(folder, self.contents())
        return folder

    def contents(self, *, repo: str | None = None, revision: str | None = None) -> dict[str, bytes]:
        """The files of the concept's folder, name -> content, the header last.

        Args:
            repo, revision: where the concept will lie on the Hub, for the examples in its card.
        """
        from safetensors.torch import save

        from . import card
        from .formats.exporting import stock_files

        payload = save({k: v.contiguous() for k, v in self.tensors.items()}, metadata={"format": "pt"})
        header = dict(self.header, tensors_sha256=hashlib.sha256(payload).hexdigest())
        beside = stock_files(self) | {
            f"{PREVIEW_FOLDER}/{n:02d}.png": png(picture) for n, picture in enumerate(self.previews)
        }
        if self.scores:
            beside[SCORES_FILE] = json.dumps(self.scores, indent=2, sort_keys=True).encode()
        last = json.dumps(header, indent=2, sort_keys=True, default=list)
        as_read = json.loads(last)
        page = card.render_card(
            as_read, files=list(beside), entry=self._entry(), scores=self.scores, repo=repo, revision=revision
        )
        return beside | {CARD_FILE: page.encode(), TENSOR_FILE: payload, HEADER_FILE: last.encode()}

    @classmethod
    def from_pretrained(cls, name, *, revision: str | None = None, token=None, cache_dir=None) -> Concept:
        """Reads a concept from a folder, or from a repository on the Hub.

        Of a repository only header, tensors, scores and previews are fetched, into the Hub's cache; from there it is
        read when the Hub cannot be reached, and in offline mode (``HF_HUB_OFFLINE=1``).

        Args:
            name: a folder, or ``"user/concept"``; a folder of that name comes first.
            revision: branch, tag or commit of the repository.
            token: of the Hub; the logged-in one when left out.
            cache_dir: in place of the Hub's cache.

        Raises:
            PersonaError: for a missing, damaged or half-written concept, and for whatever goes wrong on the way from
                the Hub; nothing in it is ever executed.
        """
        folder = Path(name)
        if folder.is_dir():
            return cls._open(folder)
        from .hub import fetch_and

        files = (HEADER_FILE, TENSOR_FILE, SCORES_FILE, f"{PREVIEW_FOLDER}/*.png")
        return fetch_and(cls._open, str(name), files=files, revision=revision, token=token, cache_dir=cache_dir)

    @classmethod
    def _open(cls, folder: Path) -> Concept:
        header = read_header(folder / HEADER_FILE)
        payload = _read(folder / TENSOR_FILE)
        expected = header.pop("tensors_sha256", None)
        if expected is not None and hashlib.sha256(payload).hexdigest() != expected:
            raise DamagedError(
                f"{folder / TENSOR_FILE}: the tensors are not those of {HEADER_FILE} (a damaged file "
                "or an interrupted save); "
                "copy the folder again, or learn with resume"
            )
        tensors = read_tensors(payload, folder / TENSOR_FILE)
        return cls(header=header, tensors=tensors, previews=_previews(folder), scores=_scores(folder / SCORES_FILE))

    @classmethod
    def from_file(
        cls, name, *, token=None, noun: str = "thing", base=None, space: str | None = None, revision: str | None = None
    ) -> Concept:
        """Reads a concept from a file of another programme: text embeddings, LoRA, ...; ``docs/formats.md`` lists all.

        What it is, is told by keys, shapes and metadata. `report` says what became of the keys. Pickles (.pt, .bin,
        .ckpt) go through a reader that knows plain data only; nothing is ever executed.

        Args:
            name: a file; a folder or Hub repository ``"user/repo"`` with one concept's weights in known formats; or
                ``"user/repo/file.safetensors"``. A concept of this library is read as by `from_pretrained`.
            token: the word for the concept, in place of the file's own; a list for a file of several words, or to
                make n words of one embedding of n vectors.
            noun: the class word, where the phrase of a prompt needs one.
            base: a pipeline that it is for: names the base model in the header, and is compared with full weights.
            space: what a file of one bare tensor is, where its shape does not say it: ``"word"``, ``"text_residual"``
                (Cones 2), ``"tuned_text"`` (Aesthetic Gradients) or ``"text_output"`` (HiPer).
            revision: branch, tag or commit of a repository.

        Raises:
            PersonaError: in one line: nothing is there, it is damaged, no format knows it, it is no concept, or not
                one of its keys matched.
        """
        from .formats.base import Hints
        from .formats.importing import fetched, header, import_files

        path = Path(name) if Path(name).exists() else fetched(str(name), revision)
        if (path / HEADER_FILE).is_file():
            return cls.from_pretrained(path if path == Path(name) else name, revision=revision)
        hints = Hints(token=token, noun=noun, base=base, space=space)
        imported = import_files(path, hints)
        made = header(imported, hints)
        concept = cls(header=json.loads(json.dumps(made, default=list)), tensors=imported.loaded.tensors)
        concept.report = imported.loaded.report
        if concept.report.unused or concept.report.missing:
            warnings.warn(f"{name}: {concept.report}; the rest is in use", stacklevel=2)
        return concept

    def export(self, format: str, path, *, pipe=None) -> list[Path]:
        """Writes the concept for another programme; all files or none.

        Args:
            format: ``"diffusers"``, ``"a1111"``, ``"kohya"``, ``"original"``, ...; ``docs/formats.md`` lists all.
            path: a folder, or the file to write where the format has one file for the concept.
            pipe: a pipeline, for formats that write a whole model.

        Returns:
            The files written.

        Raises:
            PersonaError: the format can't hold every space of this concept; the message names those that can.
        """
        from .formats.exporting import export

        return export(self, format, path, pipe=pipe)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        token=None,
        commit_message: str | None = None,
        consent: bool = False,
    ) -> str:
        """Publishes the concept as a repository on the Hub, in one commit, and returns the commit's URL.

        `hub.push` says what the arguments mean. The files are those of `save_pretrained`, but for the card, which
        names the repository, and for the statement of consent of a person's concept.

        Raises:
            PersonaError: in one line: a person without `consent`, no token or a wrong one, no right to write, a
                broken connection.
        """
        from .hub import push

        return push(
            self,
            repo_id,
            private=private,
            revision=revision,
            token=token,
            commit_message=commit_message,
            consent=consent,
        )


def read_header(path: Path) -> dict:
    """The checked content of a ``concept.json``.

    Raises:
        PersonaError: naming the file and the key that is missing or of the wrong type.
    """
    if path.exists() and path.stat().st_size > MOST_HEADER_BYTES:
        raise PersonaError(f"{path}: {path.stat().st_size} bytes are too many for a header; this is no concept")
    content = _read(path)
    try:
        header = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: not a readable JSON header ({error}); copy the folder again") from error
    if not isinstance(header, dict):
        raise PersonaError(f"{path}: the header is no JSON object; this is no concept")
    for key, kind in REQUIRED.items():
        if not isinstance(header.get(key), kind):
            raise PersonaError(
                f"{path}: key {key!r} is missing or not of type {kind.__name__}; this is no concept of ours"
            )
    for key, kind in OPTIONAL.items():
        if header.get(key) is not None and not isinstance(header[key], kind):
            raise PersonaError(f"{path}: key {key!r} is not of type {kind.__name__}; copy the folder again")
    if header["schema_version"] > SCHEMA_VERSION:
        raise PersonaError(
            f"{path}: schema version {header['schema_version']} is newer than this library; upgrade diffusers-persona"
        )
    return header


def _space(index, entry, header):
    from .spaces import KINDS

    if not isinstance(entry, dict) or str(entry.get("kind")) not in KINDS:
        raise PersonaError(
            f"space number {index} of the concept is of unknown kind {entry!r:.80}; upgrade diffusers-persona"
        )
    space = KINDS[entry["kind"]]
    fields = {field.name for field in dataclasses.fields(space)}
    try:
        declared = space(**{k: v for k, v in entry.items() if k in fields})
    except (TypeError, PersonaError) as error:
        raise PersonaError(f"space number {index} of the concept is not valid: {error}") from error
    if getattr(declared, "token", "") is None:
        declared = dataclasses.replace(declared, token=header["token"])
    if "noun" in fields and declared.noun is None:
        declared = dataclasses.replace(declared, noun=header["noun"])
    return declared


def read_tensors(payload: bytes, path: Path) -> dict:
    """The checked tensors of a ``concept.safetensors``; `path` is only named in errors.

    Raises:
        PersonaError: the bytes are no safetensors file, or hold values that are not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        if len(payload) < 8 or struct.unpack("<Q", payload[:8])[0] > len(payload):
            raise SafetensorError("the header is longer than the file")
        tensors = load(payload)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path}: not a readable safetensors file ({error}); copy it again") from error
    for key, tensor in tensors.items():
        if not torch.is_floating_point(tensor) or not torch.isfinite(tensor).all():
            raise PersonaError(f"{path}: key {key!r} holds values that are not finite numbers; learn the concept anew")
    if not tensors:
        raise PersonaError(f"{path}: the file holds no tensor; this is no concept")
    return tensors


def _previews(folder: Path):
    from .inversion.decoding import decode

    pictures = []
    for path in sorted((folder / PREVIEW_FOLDER).glob("*.png")):
        try:
            pictures.append(decode(path, maximum_pixels=MOST_PREVIEW_PIXELS).image)
        except PersonaError as error:
            raise PersonaError(f"{path}: the preview is {error}, or remove it") from error
    return pictures


def _scores(path: Path) -> dict:
    if not path.exists():
        return {}
    content = _read(path)
    try:
        scores = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PersonaError(f"{path}: not readable JSON ({error}); remove the file or measure again") from error
    if not isinstance(scores, dict) or not all(isinstance(value, (int, float, str)) for value in scores.values()):
        raise PersonaError(f"{path}: scores are an object of numbers; remove the file or measure again")
    return scores


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PersonaError(f"{path}: cannot be read ({error.strerror}); is this a concept's folder?") from error
