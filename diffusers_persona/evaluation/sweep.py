"""Sweeps over (recipe, concept, seed): every cell learned, generated and scored once; resumable in any mix.

What is finished is decided by the stored rows alone, so a sweep may go on with another executor, on other recipes, or
beside a second one.
"""

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers_persona.errors import PersonaError
from diffusers_persona.files import write_whole

from .cells import Finished, cell_key, compute
from .executors import Executor, Local
from .host import Host
from .lessons import Cell
from .making import Settings
from .rows import RowStore
from .summary import REFERENCE_ROWS

Report = Callable[[str], None]
Fitting = Sequence[str] | Mapping[str, Sequence[str]]
"""Names of concepts: the same for all recipes, or those of each recipe."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to run and where its rows go.

    Attributes:
        host: opens the world to run in, once a process; a hashable object that another process can import.
        settings: how pictures are made.
        output: folder of the rows.
        pictures: folder that keeps the pictures, as `<recipe>/<concept>/<seed>/<prompt>_<number>.png`, or None.
        resume: False computes finished cells again.
        title: of its reports.
    """

    host: Callable[[], Host]
    settings: Settings
    output: Path
    pictures: Path | None = None
    resume: bool = True
    title: str = "ToyBench"

    def run(self, cells: Sequence[Cell], executor: Executor | None = None, report: Report = print) -> list[dict]:
        """Computes the cells that have no finished row; returns the rows of all of them.

        Raises:
            PersonaError: cells that failed, after all others are done and stored.
        """
        opened, store = opened_host(self.host), RowStore(self.output)
        keys = {cell_key(cell, opened, self.settings): cell for cell in cells}
        stored = {row["key"] for row in store.rows() if self._has_pictures(row)} if self.resume else set()
        missing = [cell for key, cell in keys.items() if key not in stored]
        done = len(cells) - len(missing)
        report(f"{self.title}: {len(cells)} cells, {done} finished before, {len(missing)} to do")
        failures = self._work(missing, executor or Local(), report)
        if failures:
            listed = "; ".join(failures)
            raise PersonaError(f"{len(failures)} of {len(cells)} cells failed, the others are stored: {listed}")
        return [row for row in store.rows() if row["key"] in keys]

    def compute(self, cell: Cell) -> Finished | None:
        """One cell, in any process; None where another run has finished it since this one was planned."""
        opened = opened_host(self.host)
        if self.resume:
            key = cell_key(cell, opened, self.settings)
            if any(row["key"] == key and self._has_pictures(row) for row in RowStore(self.output).rows(cell.recipe)):
                return None
        return compute(cell, opened, self.settings)

    def _work(self, cells: Sequence[Cell], executor: Executor, report: Report) -> list[str]:
        """Computes and stores the cells; returns one line a failed cell."""
        start, failures, store = time.perf_counter(), [], RowStore(self.output)
        for done, (cell, finished, error) in enumerate(executor.map(self.compute, cells), start=1):
            name = f"{cell.recipe} / {cell.concept} / seed {cell.seed}"
            if finished is not None:
                self._keep(finished)
                store.put(finished.row)
            elapsed = time.perf_counter() - start
            left = elapsed / done * (len(cells) - done)
            report(f"[{done}/{len(cells)}] {name}: {error or 'done'} ({elapsed:.0f} s, about {left:.0f} s left)")
            if error:
                failures.append(f"{name}: {error}")
        return failures

    def _folder(self, row: Mapping[str, Any]) -> Path:
        return Path(self.pictures or "") / row["recipe"] / row["concept"] / str(row["seed"])

    def _has_pictures(self, row: Mapping[str, Any]) -> bool:
        """Whether the pictures of a row are kept, where they should be; real images have none of their own."""
        made = row["recipe"] not in REFERENCE_ROWS or row["recipe"] == "base"
        return self.pictures is None or not made or any(self._folder(row).glob("*.png"))

    def _keep(self, finished: Finished) -> None:
        made = finished.row["recipe"] not in REFERENCE_ROWS or finished.row["recipe"] == "base"
        for name, content in finished.pictures.items() if self.pictures and made else ():
            write_whole(self._folder(finished.row) / name, content)


def plan(
    recipes: Sequence[str],
    concepts: Fitting,
    seeds: Iterable[int],
    overrides: Mapping[str, Mapping[str, Any]],
    reference_rows: Sequence[str] = REFERENCE_ROWS,
) -> list[Cell]:
    """The cells of a run: seed by seed, concept by concept, so that an interrupted run compares what it has.

    The rows of real pictures need no seed and get seed 0.

    Raises:
        PersonaError: an unknown recipe or number.
    """
    from diffusers_persona import recipes as registry

    if unknown := sorted(set(overrides) - set(recipes)):
        raise PersonaError(
            f"numbers were given for {', '.join(unknown)}, which this run does not learn: name it in recipes."
        )
    for recipe in recipes:
        registry.get(recipe).resolve(dict(overrides.get(recipe, {})))
    seeds, recipes = list(dict.fromkeys(seeds)), list(dict.fromkeys(recipes))
    of = concepts if isinstance(concepts, Mapping) else dict.fromkeys(recipes, concepts)
    every = list(dict.fromkeys(itertools.chain(*(concepts.values() if isinstance(concepts, Mapping) else [concepts]))))
    real = [name for name in reference_rows if name != "base"]
    cells = [Cell(recipe=name, concept=concept, seed=0, numbers={}) for concept in every for name in real]
    generated = [name for name in reference_rows if name == "base"]
    for seed, concept, recipe in itertools.product(seeds, every, (*generated, *recipes)):
        if recipe in of and concept not in of[recipe]:
            continue
        cells.append(Cell(recipe=recipe, concept=concept, seed=seed, numbers=overrides.get(recipe, {})))
    return cells


def choose(host: Host, names: Sequence[str] | None, kinds: Sequence[str] = ()) -> list[str]:
    """Names of the concepts of a host: those named, of the kinds given; None and () take all.

    "animal" and "animals" stand for live, "people" for person.

    Raises:
        PersonaError: an unknown name or kind, or nothing is left.
    """
    words = {"animal": "live", "animals": "live", "people": "person", "objects": "object", "styles": "style"}
    wanted = [words.get(kind, kind) for kind in kinds]
    present = sorted({concept.kind for concept in host.concepts})
    if unknown := [kind for kind in wanted if kind not in present]:
        raise PersonaError(f"there is no concept of kind {unknown[0]!r}: choose from {', '.join(present)}")
    chosen = [host.concept(name) for name in names] if names else list(host.concepts)
    kept = [concept.name for concept in chosen if not wanted or concept.kind in wanted]
    if not kept:
        raise PersonaError(f"no concept is left: none of {', '.join(names or ())} is of kind {', '.join(wanted)}")
    return kept


@functools.cache
def opened_host(host: Callable[[], Host]) -> Host:
    """The host, opened once a process."""
    return host()
