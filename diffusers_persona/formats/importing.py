"""From a file, a folder or a repository of somebody else to a concept: find the weights, load them, write a header."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..errors import PersonaError
from ..spaces.base import NEGATIVE, named
from .base import Format, Hints, Loaded, load, recognise
from .bundles import join
from .contents import SUFFIXES, Contents, read
from .registry import formats

RECIPE = "imported"
SIDE_FILES = ("*.json",)
STEPS_OF_TRAINING = ("optimizer", "scheduler", "random_states", "training_args", "scaler")
_PIPELINE = "is a whole pipeline, not a concept; open it with DiffusionPipeline.from_pretrained"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
    """What was loaded: the files with the format of each, and all of it together."""

    files: Sequence[tuple[Contents, Format]]
    loaded: Loaded


def import_files(path: Path, hints: Hints) -> Imported:
    """Loads a file, or the file or files of a folder that make one concept.

    Raises:
        PersonaError: in one line: nothing in it is known, several files could be meant, not one key matched.
    """
    if path.is_dir():
        return _import_folder(path, hints)
    contents = read(path)
    found, loaded = load(contents, hints, formats())
    return Imported(files=[(contents, found)], loaded=loaded)


def _import_folder(folder: Path, hints: Hints) -> Imported:
    """The one adapter of a folder, and the words beside it: Custom Diffusion and pivotal tuning write them apart."""
    if (folder / "model_index.json").is_file():
        return _import_pipeline(folder, hints)
    known = _known_files(folder)
    if not known and (parts := sorted(folder.glob("*/adapter_config.json"))):  # PEFT: one folder for each network
        imported = [_import_folder(part.parent, hints) for part in parts]
        return Imported(files=[f for i in imported for f in i.files], loaded=join([i.loaded for i in imported]))
    words = [each for each in known if each[1].kind == "textual-inversion"]
    others = [each for each in known if each[1].kind != "textual-inversion"]
    if not known:
        raise PersonaError(
            f"{folder}: no concept.json and no file with weights in a known format lies in this folder; name a file"
        )
    final = [each for each in words if each[0].path.stem == "learned_embeds"]
    chosen = others + (final if final and not others else words)
    leading = [each for each in others if not each[1].beside]
    if len(leading) > 1 or (not others and len(chosen) > 1 and not _is_pair(chosen)):
        names = ", ".join(contents.path.name for contents, _ in chosen[:8])
        raise PersonaError(f"{folder} holds several files that could be meant ({names}); name one of them")
    tokens = hints.tokens
    parts = []
    for contents, found in chosen:
        own = hints
        if words and found.kind != "textual-inversion":
            own = dataclasses.replace(hints, token=None)
        elif len(words) > 1 and tokens:
            own = dataclasses.replace(hints, token=_one_of(tokens, words, contents))
        parts.append(load(contents, own, [found])[1])
    return Imported(files=chosen, loaded=parts[0] if len(parts) == 1 else join(parts))


def _is_pair(words) -> bool:
    """A word and its negative: ``toy.pt`` and ``toy-neg.pt``."""
    stems = sorted((contents.path.stem for contents, _ in words), key=len)
    return len(stems) == 2 and stems[1] == named(stems[0], NEGATIVE)


def _import_pipeline(folder: Path, hints: Hints) -> Imported:
    """A fine-tuned pipeline, as what differs from the base."""
    from . import weights

    if hints.base is None:
        raise PersonaError(f"{folder} {_PIPELINE}")
    files, loaded = weights.load_pipeline(folder, hints)
    return Imported(files=[(contents, weights.FORMATS[0]) for contents in files], loaded=loaded)


def _one_of(tokens, words, contents):
    if len(tokens) != len(words):
        raise PersonaError(f"{contents.path.parent} holds {len(words)} words, {len(tokens)} tokens were given")
    return tokens[[each for each, _ in words].index(contents)]


def _known_files(folder: Path) -> list[tuple[Contents, Format]]:
    """Loadable files of a folder; of files with one name, the safetensors one."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in SUFFIXES]
    by_name: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: SUFFIXES.index(path.suffix)):
        if not path.name.startswith((".", *STEPS_OF_TRAINING)):
            by_name.setdefault(path.stem, path)
    known, reasons = [], []
    for path in sorted(by_name.values()):
        try:
            contents = read(path)
        except PersonaError as error:
            reasons.append(error)
            continue
        found = recognise(contents, formats())
        if found is not None and found.load is not None:
            known.append((contents, found))
    if not known and reasons:
        raise reasons[0]
    return known


# ---------------------------------------------------------------------------------------------------------------- Hub


def fetched(name: str, revision: str | None = None) -> Path:
    """The file ``user/repo/file``, or the folder of ``user/repo`` with its weights at the top, from the Hub's cache.

    Raises:
        PersonaError: in one line, when the name, the network or the repository is the reason.
    """
    import re

    from huggingface_hub import hf_hub_download, snapshot_download

    from ..hub.failures import explained

    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/(.+))?", name)
    if match is None or name.startswith((".", "/")) or ".." in name.split("/"):
        raise PersonaError(
            f"{name} does not exist; give a file, a folder, 'user/repo' or 'user/repo/file.safetensors'"
        )
    repo, inner = match.groups()
    with explained(f"{name}: no such file or folder, and not read from the Hub"):
        if inner:
            return Path(hf_hub_download(repo, inner, revision=revision))
        _refuse_pipelines(repo, revision)
        patterns = [f"*{suffix}" for suffix in SUFFIXES]
        return Path(
            snapshot_download(
                repo, revision=revision, allow_patterns=[*patterns, *SIDE_FILES], ignore_patterns=["*/*"]
            )
        )


def _refuse_pipelines(repo: str, revision: str | None) -> None:
    """Before gigabytes are fetched: a repository of a whole pipeline is no concept."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    try:
        names = HfApi().list_repo_files(repo, revision=revision)
    except OfflineModeIsEnabled:
        return
    except HTTPError as error:
        if getattr(error, "response", None) is not None:
            raise
        return
    if "model_index.json" in names:
        raise PersonaError(f"{repo} {_PIPELINE}")


# -------------------------------------------------------------------------------------------------------------- header


def header(imported: Imported, hints: Hints) -> dict:
    """The header of a concept that was imported: what is known about it, and where it came from."""
    from ..concept import SCHEMA_VERSION

    loaded = imported.loaded
    words = [token for space in loaded.spaces if space.adds_token and (token := getattr(space, "token", None))]
    negatives = [word for word in words if any(word == named(other, NEGATIVE) for other in words)]
    words = [word for word in words if word not in negatives]
    token = " ".join(words) or (hints.tokens[0] if hints.tokens else loaded.token or "")
    noun = hints.noun if hints.noun != Hints.noun or not loaded.noun else loaded.noun
    sources = [_source(contents, found) for contents, found in imported.files]
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": RECIPE,
        "numbers": {},
        "token": token or noun,
        "noun": noun,
        "phrase": _phrase(token, noun, only_words=all(space.adds_token for space in loaded.spaces)),
        **({"negative": " ".join(negatives)} if negatives else {}),
        "spaces": [{"kind": space.kind, **dataclasses.asdict(space)} for space in loaded.spaces],
        "base_model": _base_model(loaded, hints),
        "provenance": "; ".join(f"imported from {s['file']}, {s['format']}, sha256 {s['sha256']}" for s in sources),
        "sources": sources,
        "licence": loaded.licence or "",
    }


def _phrase(token: str, noun: str, *, only_words: bool) -> str:
    named = noun != Hints.noun
    if not token:
        return noun
    return token if only_words or not named else f"{token} {noun}"


def _base_model(loaded: Loaded, hints: Hints) -> dict:
    if hints.base is not None:
        from .. import backbones

        return backbones.of(hints.base).describe()
    return {"family": loaded.family} if loaded.family else {}


def _source(contents: Contents, found: Format) -> dict[str, str]:
    with contents.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": contents.path.name, "format": found.title, "sha256": digest}
