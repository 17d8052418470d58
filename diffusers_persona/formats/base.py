"""What a file format is: how it is told, what is made of it, and how a concept is written in it.

To add a format, write a module beside this one with pure functions on `Contents` and one `Format` for each layout,
and add these to `FORMATS` in ``formats/registry.py``: from the most special to the most general, since the first that
recognises a file has it. Then `Concept.from_file`, `concept.export`, ``persona inspect``, ``persona convert`` and
``docs/formats.md`` know it.

- ``recognise(contents)`` looks at keys, shapes and metadata (`contents.infos`, `contents.extra`, `contents.tree`),
  never at the file's name, and does not touch ``contents.tensors``: so that telling costs neither torch nor memory.
- ``load(contents, hints)`` gives spaces and tensors under the names that the spaces use, and the report of keys.
- ``save(concept, **wishes)`` gives file name -> bytes, or None where the concept does not fit the layout.
- ``facts(contents)`` are what ``persona inspect`` shows beside the title: rank, width, base family, ...
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError

if TYPE_CHECKING:
    from torch import Tensor

    from ..concept import Concept
    from ..spaces import Space
    from .contents import Contents


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hints:
    """What the user says about a file, for all that the file itself leaves open.

    Attributes:
        token: the word for the concept, or one for each of several; None for the file's own.
        noun: the class word.
        base: a diffusers pipeline to compare full weights with, or None.
        space: kind of the space that a bare tensor lives in; None for a word, or what its shape says.
    """

    token: str | Sequence[str] | None = None
    noun: str = "thing"
    base: Any = None
    space: str | None = None

    @property
    def tokens(self) -> tuple[str, ...]:
        """The words as a tuple; empty when none is given."""
        if self.token is None:
            return ()
        return (self.token,) if isinstance(self.token, str) else tuple(self.token)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of a file's keys.

    Attributes:
        matched: keys that went into the concept.
        unused: keys that did not, and are not needed.
        missing: keys that the layout asks for and the file lacks.
    """

    matched: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __add__(self, other: LoadReport) -> LoadReport:
        fields = dataclasses.fields(self)
        return LoadReport(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields})

    def __str__(self):
        text = f"{len(self.matched)} keys matched, {len(self.unused)} unused, {len(self.missing)} missing"
        named = [f"{name}: {_some(getattr(self, name))}" for name in ("unused", "missing") if getattr(self, name)]
        return "; ".join([text, *named])


def _some(keys: Sequence[str], most: int = 5) -> str:
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """A file as spaces and tensors.

    Attributes:
        spaces: where the concept lives; a word carries its own token.
        tensors: ``"<index of the space>.<kind>.<name>"`` -> tensor.
        report: what became of the keys.
        token: the word for the concept, None when the file brings none.
        noun: the class word, if the file says it.
        family: ``"sd"``, ``"sdxl"`` or ``"flux"``; None when it can't be told.
        licence: as stated in the file.
    """

    spaces: Sequence[Space]
    tensors: dict[str, Tensor]
    report: LoadReport
    token: str | None = None
    noun: str | None = None
    family: str | None = None
    licence: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """One layout of files.

    Attributes:
        kind: what such a file is, a short stable id: ``"textual-inversion"``, ``"lora"``, ...
        title: the same in words, with the layout's home: shown by ``persona inspect``.
        layout: its keys and shapes, for the documentation.
        recognise: whether contents are in this layout.
        load: contents and hints -> `Loaded`; None for a layout that is recognised and named only.
        save: concept, and the wishes ``suffix`` (``".pt"`` or None) and ``pipe`` as keywords -> file name -> bytes;
            None in place of the dict when the concept does not fit.
        writes: names under which `Concept.export` writes this layout, e.g. ``("kohya", "a1111")``.
        holds: kinds of the spaces that ``save`` can write; None for any.
        suffixes: of the files that ``save`` can write, the default first.
        facts: contents -> named facts for ``persona inspect``.
        next_step: one line on how such a file is used when we do not load it.
        refusal: why it is not loaded, when ``load`` is None.
        beside: whether such a file lies beside another one that it belongs to.
    """

    kind: str
    title: str
    recognise: Callable[[Contents], bool]
    layout: str = ""
    load: Callable[[Contents, Hints], Loaded] | None = None
    save: Callable[..., dict[str, bytes] | None] | None = None
    writes: tuple[str, ...] = ()
    holds: tuple[str, ...] | None = ()
    suffixes: tuple[str, ...] = (".safetensors",)
    facts: Callable[[Contents], dict[str, Any]] | None = None
    next_step: str = "Concept.from_file(...) or persona convert FILE FOLDER"
    refusal: str = ""
    beside: bool = False

    def held(self, kinds: set[str]) -> set[str]:
        """Kinds that ``save`` writes of a concept with spaces of `kinds`."""
        return kinds if self.holds is None else set(self.holds)

    def files(self, concept: Concept, *, suffix: str | None = None, pipe=None) -> dict[str, bytes]:
        """File name -> content of `concept` in this layout; empty when it does not fit."""
        return {} if self.save is None else self.save(concept, suffix=suffix, pipe=pipe) or {}


def recognise(contents: Contents, formats: Sequence[Format]) -> Format | None:
    """The first format that knows these contents."""
    return next((each for each in formats if each.recognise(contents)), None)


def load(contents: Contents, hints: Hints, formats: Sequence[Format]) -> tuple[Format, Loaded]:
    """The contents in the format that recognises them.

    Raises:
        PersonaError: no format knows them, the format is not loadable, or not one key matched.
    """
    found = recognise(contents, formats)
    if found is None:
        some = _some(sorted(contents.infos)) or "no tensor at all"
        raise PersonaError(f"{contents.path}: no key matches a known format ({some}); see persona inspect --keys")
    if found.load is None:
        reason = found.refusal or "it is no concept"
        raise PersonaError(f"{contents.path}: this is {found.title}, and {reason}; {found.next_step}")
    loaded = found.load(contents, hints)
    if not loaded.report.matched or not loaded.tensors:
        unused = _some(loaded.report.unused) or "none"
        raise PersonaError(f"{contents.path}: none of its keys fits {found.title} (keys: {unused}); is it whole?")
    return found, loaded


def writers(concept: Concept, name: str, formats: Sequence[Format]) -> list[Format]:
    """Formats called `name` that together can hold some of the concept's spaces, those that hold most first."""
    kinds, chosen = {space.kind for space in concept.spaces}, []
    fitting = [f for f in formats if name in f.writes and f.save is not None and f.held(kinds) <= kinds]
    for each in sorted(fitting, key=lambda f: -len(f.held(kinds))):
        if not any(each.held(kinds) <= other.held(kinds) for other in chosen):
            chosen.append(each)
    return chosen


def names_for(concept: Concept, formats: Sequence[Format]) -> list[str]:
    """Names of the formats that hold every space of `concept`."""
    kinds = {space.kind for space in concept.spaces}
    names = dict.fromkeys(name for each in formats for name in each.writes)
    return [n for n in names if {kind for f in writers(concept, n, formats) for kind in f.held(kinds)} == kinds]
