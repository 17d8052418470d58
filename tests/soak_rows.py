"""The library's promises and how far the last soak run tried them: `benchmarks/trust/soak.json`, `docs/promises.md`.

A promise is the docstring of a test marked `promise`; its counts are what the test took from the fixture `soak`.
Run as a programme it writes the page.
"""

import ast
import dataclasses
import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROWS, PAGE = ROOT / "benchmarks" / "trust" / "soak.json", ROOT / "docs" / "promises.md"
HEAD = """# Promises

<!-- Written by `make soak` from the tests and their counts; edits are lost. -->

What the library promises to people who open files of strangers, run out of disk, or press Ctrl-C, and the test that
keeps each promise. `make test` tries a sample of the cases; `make soak` tries all of them, as in the last columns.
{run}
| promise | cases of the last soak run | outcome | test |
| --- | ---: | --- | --- |
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Promise:
    """A promise in words and the test that keeps it, as pytest names it without parameters."""

    words: str
    test: str


def promises() -> list[Promise]:
    """Every promise, in the order of files and lines; read from the sources without importing them."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any(
                "mark.promise" in ast.unparse(d) for d in node.decorator_list
            ):
                words = " ".join((ast.get_docstring(node) or "").split())
                found.append(Promise(words=words, test=f"{path.relative_to(ROOT).as_posix()}::{node.name}"))
    return found


def renew(path: Path, rows: dict) -> None:
    """Puts the rows of a run (test id -> counts, outcome, seconds) in the place of the older ones in `path`."""
    kept = json.loads(path.read_text(encoding="utf-8"))["tests"] if path.exists() else {}
    run = {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in ("torch", "diffusers", "diffusers_persona")},
    }
    now = {test: {**row, **run} for test, row in rows.items()}
    present = {test: row for test, row in {**kept, **now}.items() if (ROOT / test.partition("::")[0]).exists()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"tests": present}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def page(rows: dict) -> str:
    """The text of `docs/promises.md` for the rows of `soak.json`."""
    lines = []
    for promise in promises():
        own = {test: row for test, row in rows.items() if test.partition("[")[0] == promise.test}
        file, _, name = promise.test.partition("::")
        link = f"[`{name}`](../{file})"
        lines.append(f"| {promise.words} | {_cases(own.values())} | {_outcome(own.values())} | {link} |\n")
    return HEAD.format(run=_run(rows)) + "".join(lines)


def _cases(rows) -> str:
    totals: dict[str, int] = {}
    for row in rows:
        for entry in row["counts"]:
            totals[entry["of"]] = totals.get(entry["of"], 0) + entry["count"]
    return ", ".join(f"{count:,} {of}" for of, count in totals.items())


def _outcome(rows) -> str:
    outcomes = {row["outcome"] for row in rows}
    return "kept" if outcomes == {"passed"} else ", ".join(sorted(outcomes)) or "not run yet"


def _run(rows) -> str:
    if not rows:
        return ""
    last = max(rows.values(), key=lambda row: row["finished"])
    seconds = sum(row["seconds"] for row in rows.values())
    return (
        f"\nLast run: {last['finished'][:10]}, {seconds / 60:.0f} minutes on one thread of {last['cores']} cores, "
        f"torch {last['torch']}, diffusers {last['diffusers']}.\n"
    )


def stored() -> dict:
    """The rows of the last soak run; empty before the first."""
    return json.loads(ROWS.read_text(encoding="utf-8"))["tests"] if ROWS.exists() else {}


if __name__ == "__main__":
    PAGE.write_text(page(stored()), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
