"""ToyBench: every (recipe, concept, seed) learned, generated and scored on the embedded Toybox; resumable.

    from diffusers_persona.evaluation import toybench
    toybench.run(["textual-inversion", "lora"], seeds=(0, 1), workers=2)

Rows go to `benchmarks/toybench/<recipe>.jsonl`, the pages to `docs/scoreboard.md` and `docs/images/pareto.png`.
"""

import functools
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers_persona.errors import PersonaError

from .cells import Cell, Settings, cell_key, compute
from .host import Host, toybox_host
from .rows import RowStore
from .summary import REFERENCE_ROWS, summarise

Report = Callable[[str], None]


def run(
    recipes: Sequence[str],
    concepts: Sequence[str] | None = None,
    seeds: Iterable[int] = (0, 1),
    *,
    output: str | Path = "benchmarks/toybench",
    docs: str | Path | None = "docs",
    evidence: Path | None = None,
    images_per_prompt: int = 2,
    steps: int = 25,
    guidance: float = 4.0,
    prompts: int | None = None,
    numbers_overrides: Mapping[str, Mapping[str, Any]] | None = None,
    workers: int = 1,
    resume: bool = True,
    report: Report = print,
    host: Callable[[], Host] = toybox_host,
) -> list[dict[str, Any]]:
    """Computes the cells that have no finished row, then renders the scoreboard.

    Args:
        recipes: recipe ids; the rows `base`, `copy-paste` and `oracle` are always added.
        concepts: concept names; None takes all of the host.
        seeds: seeds of learning and of the sampler's noise.
        output: folder of the rows. docs: folder of `scoreboard.md` and `images/pareto.png`; None renders nothing.
        evidence: file that gets each recipe's efficacy; None takes the checkout's, where there is one.
        images_per_prompt, steps, guidance, prompts: see `cells.Settings`.
        numbers_overrides: recipe id -> numbers in place of the recipe's own; they are written into each row.
        workers: processes, each with one thread.
        resume: False computes every cell again.
        report: gets one line a finished cell.
        host: opens the world to run in; a function that a worker process can import.

    Returns:
        the rows of the asked cells, the reference rows included.

    Raises:
        PersonaError: an unknown recipe, concept or number, at once; cells that failed, after all others are done.
    """
    overrides = {name: dict(numbers) for name, numbers in (numbers_overrides or {}).items()}
    settings = Settings(images_per_prompt=images_per_prompt, steps=steps, guidance=guidance, prompts=prompts)
    opened = _opened(host)
    cells = plan(recipes, concepts or [concept.name for concept in opened.concepts], seeds, overrides)
    keys = [cell_key(cell, opened, settings) for cell in cells]
    store = RowStore(output)
    stored = {row["key"] for row in store.rows()} if resume else set()
    missing = [cell for cell, key in zip(cells, keys, strict=True) if key not in stored]
    report(f"ToyBench: {len(cells)} cells, {len(cells) - len(missing)} finished before, {len(missing)} to do")
    bench = _Bench(settings=settings, store=store, host=host, resume=resume)
    failures = _work(bench, missing, workers, report)
    wanted = set(keys)
    rows = [row for row in store.rows() if row["key"] in wanted]
    if docs is not None and rows:
        fingerprints = (opened.base_fingerprint, opened.instruments_fingerprint)
        render(output, docs, evidence=evidence, fingerprints=fingerprints)
    if failures:
        raise PersonaError(
            f"{len(failures)} of {len(cells)} cells failed, the others are stored: " + "; ".join(failures)
        )
    return rows


def plan(
    recipes: Sequence[str], concepts: Sequence[str], seeds: Iterable[int], overrides: Mapping[str, Mapping[str, Any]]
) -> list[Cell]:
    """The cells of a run: seed by seed, concept by concept, so that an interrupted run compares what it has.

    The rows `copy-paste` and `oracle` need no seed and get seed 0.
    """
    from diffusers_persona import recipes as registry

    if unknown := sorted(set(overrides) - set(recipes)):
        raise PersonaError(
            f"numbers were given for {', '.join(unknown)}, which this run does not learn: name it in recipes."
        )
    for recipe in recipes:
        registry.get(recipe).resolve(dict(overrides.get(recipe, {})))
    seeds = list(dict.fromkeys(seeds))
    cells = [
        Cell(recipe=name, concept=concept, seed=0, numbers={}) for concept in concepts for name in REFERENCE_ROWS[1:]
    ]
    for seed, concept, recipe in itertools.product(seeds, concepts, ("base", *dict.fromkeys(recipes))):
        cells.append(Cell(recipe=recipe, concept=concept, seed=seed, numbers=overrides.get(recipe, {})))
    return cells


def render(
    output: str | Path = "benchmarks/toybench",
    docs: str | Path = "docs",
    *,
    evidence: Path | None = None,
    fingerprints: tuple[str, str] | None = None,
) -> Path:
    """Writes `scoreboard.md` and `images/pareto.png` from the stored rows and records each recipe's efficacy.

    Args:
        evidence: file that gets the efficacy; None takes the checkout's, where there is one.
        fingerprints: (base, instruments) that rows must come from; None takes those of the newest row.
    """
    from . import levels, plots, tables

    rows = RowStore(output).rows()
    if not rows:
        raise PersonaError(f"{output} holds no rows: run `persona bench toybench` first.")
    newest = max(rows, key=lambda row: row["finished"])
    base, instruments = fingerprints or (newest["base_fingerprint"], newest["instruments_fingerprint"])
    current = [row for row in rows if (row["base_fingerprint"], row["instruments_fingerprint"]) == (base, instruments)]
    summaries = summarise(current)
    docs = Path(docs)
    plots.pareto(summaries, docs / "images" / "pareto.png")
    page = docs / "scoreboard.md"
    tables.write_scoreboard(current, page)
    if evidence := evidence or levels.checkout_evidence():
        levels.record_efficacy(summaries, evidence)
    return page


@functools.cache
def _opened(host: Callable[[], Host]) -> Host:
    return host()


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """What a worker process needs to finish a cell."""

    settings: Settings
    store: RowStore
    host: Callable[[], Host]
    resume: bool

    def finish(self, cell: Cell) -> str | None:
        """Computes and stores one row; returns what went wrong, or None."""
        opened = _opened(self.host)
        # Another run may have finished the cell since this one was planned.
        if self.resume and self.store.has(cell.recipe, cell_key(cell, opened, self.settings)):
            return None
        try:
            self.store.put(compute(cell, opened, self.settings))
        except (
            Exception
        ) as error:  # one failed cell must not take the others' hours with it; it is reported at the end
            return f"{type(error).__name__}: {error}"
        return None

    def finished(self, cells: Sequence[Cell], workers: int) -> Iterator[tuple[Cell, str | None]]:
        """Yields (cell, error or None) as cells finish, in any order."""
        if workers <= 1 or len(cells) < 2:
            yield from ((cell, self.finish(cell)) for cell in cells)
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
        try:
            futures = {pool.submit(self.finish, cell): cell for cell in cells}
            for future in as_completed(futures):
                died = isinstance(future.exception(), BrokenExecutor)
                yield futures[future], "its process died, perhaps for want of memory" if died else future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _work(bench: _Bench, cells: Sequence[Cell], workers: int, report: Report) -> list[str]:
    """Computes and stores the cells; returns one line a failed cell."""
    start, failures = time.perf_counter(), []
    for done, (cell, error) in enumerate(bench.finished(cells, workers), start=1):
        name = f"{cell.recipe} / {cell.concept} / seed {cell.seed}"
        elapsed = time.perf_counter() - start
        left = elapsed / done * (len(cells) - done)
        report(f"[{done}/{len(cells)}] {name}: {error or 'done'} ({elapsed:.0f} s, about {left:.0f} s left)")
        if error:
            failures.append(f"{name}: {error}")
    return failures


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
