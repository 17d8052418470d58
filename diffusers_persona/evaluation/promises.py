"""Whether recipes keep what they promise against a plain method, on the concepts that both have learned."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .statistics import Interval, paired_difference
from .summary import FIDELITY, OBEDIENCE, by_prompt

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a kind of promise is measured: `values` of rows by (concept, ...), `sign` -1 where less is better.

    The values of a `ratio` are logarithms.
    """

    title: str
    values: Callable[[Rows], dict[tuple, float]]
    sign: int = 1
    ratio: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One promise of a recipe as the rows have it; `difference` is recipe minus the plain method, paired.

    `holds` is None where two concepts or more in common are missing, so that there is no interval.
    """

    kind: str
    against: str
    difference: Interval | None
    holds: bool | None

    @property
    def text(self) -> str:
        """The difference in words: a factor of a ratio, or a signed number, with the interval."""
        if self.difference is None:
            return "not measured"
        show = (lambda x: f"x{math.exp(x):.2f}") if MEASURES[self.kind].ratio else (lambda x: f"{x:+.3f}")
        low, high = self.difference.low, self.difference.high
        bounds = "" if low is None or high is None else f" [{show(low)}, {show(high)}]"
        return show(self.difference.mean) + bounds


def _of_cells(value: Callable[[Mapping[str, Any]], float | None]) -> Callable[[Rows], dict[tuple, float]]:
    """(concept, seed) -> the value of each row that has it."""

    def values(rows: Rows) -> dict[tuple, float]:
        found = {(row["concept"], row["seed"]): value(row) for row in rows}
        return {key: number for key, number in found.items() if number is not None}

    return values


def _logarithm(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda row: math.log(row[name]) if row.get(name) else None


MEASURES = {
    "faster": Measure(
        title="processor seconds of learning", values=_of_cells(_logarithm("learn_cpu_seconds")), sign=-1, ratio=True
    ),
    "smaller": Measure(title="bytes", values=_of_cells(_logarithm("artifact_bytes")), sign=-1, ratio=True),
    "faithful": Measure(title="fidelity", values=lambda rows: by_prompt(rows, FIDELITY)),
    "editable": Measure(title="obedience", values=lambda rows: by_prompt(rows, OBEDIENCE)),
    "remembers": Measure(
        title="likeness of the class to the concept", values=_of_cells(lambda row: row["sets"].get("pres")), sign=-1
    ),
    "disentangled": Measure(
        title="share of the references' backgrounds", values=_of_cells(lambda row: row["sets"].get("leak")), sign=-1
    ),
}
"""Kind of a promise (`recipe.PROMISES`) -> how it is measured."""


def outcome(kind: str, rows: Rows, against: str, others: Rows) -> Outcome:
    """One promise: kept where the whole interval of the paired difference lies on the promised side of zero."""
    measure = MEASURES[kind]
    treatment, control = measure.values(rows), measure.values(others)
    clusters: dict[Hashable, Hashable] = {key: key[0] for key in treatment}
    if not treatment.keys() & control.keys():
        return Outcome(kind=kind, against=against, difference=None, holds=None)
    difference = paired_difference(treatment, control, clusters)
    holds = None
    if difference.low is not None:
        holds = difference.above_zero if measure.sign > 0 else difference.below_zero
    return Outcome(kind=kind, against=against, difference=difference, holds=holds)


def outcomes(entries: Sequence[Any], rows: Rows) -> dict[str, list[Outcome]]:
    """Recipe -> the outcomes of its promises, for registered recipes that promise something and have rows.

    Args:
        entries: `RecipeEntry` objects.
        rows: rows of the same models and settings; a recipe is compared on the concepts of its own rows.
    """
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["recipe"], []).append(row)
    return {
        entry.id: [outcome(kind, grouped[entry.id], other, grouped.get(other, [])) for kind, other in entry.promise]
        for entry in entries
        if entry.promise and entry.id in grouped
    }
