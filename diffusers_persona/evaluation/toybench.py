"""ToyBench: every (recipe, concept, seed) learned, generated and scored on the embedded Toybox; resumable.

    from diffusers_persona.evaluation import toybench
    toybench.run(["textual-inversion", "lora"], seeds=(0, 1), executor=Processes(2))

Rows go to `benchmarks/toybench/<recipe>.jsonl`, the pages to `docs/scoreboard.md` and `docs/images/pareto.png`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers_persona.errors import PersonaError

from .boards import board_name, board_of
from .executors import Executor
from .host import Host, toybox_host
from .making import Settings
from .rows import RowStore
from .summary import summarise
from .sweep import Fitting, Report, Sweep, choose, opened_host, plan

BOARD = Settings(images_per_prompt=1, prompts=8, class_pictures=3, bare_pictures=3)
"""How pictures are made unless told otherwise: few enough for a row of every recipe."""


def run(
    recipes: Sequence[str],
    concepts: Sequence[str] | None = None,
    seeds: Iterable[int] = (0, 1),
    *,
    kinds: Sequence[str] = (),
    output: str | Path = "benchmarks/toybench",
    docs: str | Path | None = "docs",
    evidence: Path | None = None,
    pictures: Path | None = None,
    settings: Settings | None = None,
    numbers_overrides: Mapping[str, Mapping[str, Any]] | None = None,
    executor: Executor | None = None,
    resume: bool = True,
    report: Report = print,
    host: Callable[[], Host] = toybox_host,
) -> list[dict[str, Any]]:
    """Computes the cells that have no finished row, then renders the scoreboard.

    Args:
        recipes: recipe ids; the host's reference rows are always added.
        concepts: concept names; None takes those that fit each recipe (`boards.BOARDS`). kinds: only concepts of these
            kinds, of all that the host has.
        seeds: seeds of learning and of the sampler's noise.
        output: folder of the rows. docs: folder of `scoreboard.md` and `images/pareto.png`; None renders nothing.
        evidence: file that gets each recipe's efficacy; None takes the checkout's, where there is one.
        pictures: folder that keeps the pictures, or None.
        settings: how pictures are made.
        numbers_overrides: recipe id -> numbers in place of the recipe's own; they are written into each row.
        executor: where cells are computed; None takes this process.
        resume: False computes every cell again.
        report: gets one line a finished cell.
        host: opens the world to run in; a function that a worker process can import.

    Returns:
        the rows of the asked cells, the reference rows included.

    Raises:
        PersonaError: an unknown recipe, concept or number, at once; cells that failed, after all others are done.
    """
    from diffusers_persona import recipes as registry

    overrides = {name: dict(numbers) for name, numbers in (numbers_overrides or {}).items()}
    opened = opened_host(host)
    if concepts or kinds or opened.board is None:
        fitting: Fitting = choose(opened, concepts, kinds)
    else:
        fitting = {name: opened.board(registry.get(name)) for name in recipes}
    cells = plan(recipes, fitting, seeds, overrides, opened.reference_rows)
    sweep = Sweep(host=host, settings=settings or BOARD, output=Path(output), pictures=pictures, resume=resume)
    try:
        return sweep.run(cells, executor, report)
    finally:
        if docs is not None and RowStore(output).rows():
            fingerprints = (opened.base_fingerprint, opened.instruments_fingerprint)
            render(output, docs, evidence=evidence, fingerprints=fingerprints)


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
    from diffusers_persona import recipes

    from . import levels, plots, promises, tables

    rows = RowStore(output).rows()
    if not rows:
        raise PersonaError(f"{output} holds no rows: run `persona bench toybench` first.")
    newest = max(rows, key=lambda row: row["finished"])
    base, instruments = fingerprints or (newest["base_fingerprint"], newest["instruments_fingerprint"])
    rows = [row for row in rows if (row["base_fingerprint"], row["instruments_fingerprint"]) == (base, instruments)]
    rows = current(rows)
    entries = recipes.list()
    summaries = summarise(own_rows(rows, entries))
    boards = {entry.id: board_name(entry) for entry in entries}
    kept = promises.outcomes(entries, rows)
    docs = Path(docs)
    learns = {recipe: board.partition("@")[0] for recipe, board in boards.items()}
    plots.pareto(summaries, docs / "images" / "pareto.png", families=learns)
    page = docs / "scoreboard.md"
    tables.write_scoreboard(rows, summaries, page, boards=boards, promises=kept)
    if evidence := evidence or levels.checkout_evidence():
        levels.record_efficacy(summaries, evidence, promises=kept)
    return page


def current(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that were made with the settings of the newest; others cannot stand in one table."""
    if not rows:
        return []

    def settings(row: Mapping[str, Any]) -> list:
        return sorted((name, str(value)) for name, value in row["settings"].items() if name != "batch" and value)

    newest = settings(max(rows, key=lambda row: row["finished"]))
    return [row for row in rows if settings(row) == newest]


def own_rows(rows: Sequence[Mapping[str, Any]], entries: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The rows that a recipe is judged by: those of its board, where it has any; plain methods have more, to compare
    others with."""
    boards = {entry.id: board_name(entry) for entry in entries}
    at_home = {row["recipe"] for row in rows if board_of(row["concept"]) == boards.get(row["recipe"], "")}
    return [row for row in rows if row["recipe"] not in at_home or board_of(row["concept"]) == boards[row["recipe"]]]
