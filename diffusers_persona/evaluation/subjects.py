"""What a benchmark asks a recipe to learn, and what to do with it: subjects and prompts. Loads no torch."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt. `template` holds `{}` (or `{0}` and `{1}`, for two concepts) in the place of the concept's phrase.

    The other fields say what a good picture shows, where a classifier can tell; None where nobody knows.
    """

    template: str
    background: str | None = None
    style: str | None = None
    noun: str | None = None
    second_noun: str | None = None
    attribute: str | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One concept of a benchmark, or several that belong into one picture.

    Attributes:
        name: unique in its benchmark.
        kind: object, live, person or style.
        noun: the class word, e.g. "stuffed animal".
        references: files of its pictures; empty where `parts` are given.
        prompts: what to generate.
        true_name: its name in the Toybox's classifiers; empty for a subject that they do not know.
        folder: where its `oracle/NN.png` (a real picture a prompt) would be; None where there is none.
        parts: two subjects or more, learned one by one and used together; the prompts have a place for each.
    """

    name: str
    kind: str
    noun: str
    references: tuple[Path, ...] = ()
    prompts: tuple[Prompt, ...] = field(default=(), repr=False)
    true_name: str = ""
    folder: Path | None = None
    parts: tuple["Subject", ...] = ()
