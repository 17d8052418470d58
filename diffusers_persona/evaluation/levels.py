"""The four levels of a recipe, computed from evidence: contract, parity, efficacy, formats.

The evidence is `diffusers_persona/recipes/evidence.json`. Its test outcomes are written by the test suite
(`pytest --write-evidence`; tests say what they prove by `@pytest.mark.evidence(level=..., recipe=...)`), its efficacy
by `persona bench toybench`. Nothing in it is typed by hand. Loads no torch.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers_persona.errors import PersonaError
from diffusers_persona.files import write_whole

LEVELS = ("contract", "parity", "efficacy", "formats")
TEST_LEVELS = ("contract", "parity", "formats")
PROMISES = "promises"
EVIDENCE = Path(__file__).parent.parent / "recipes" / "evidence.json"

Evidence = dict[str, dict[str, dict[str, Any]]]
"""recipe id -> level -> record: counts of `passed`, `failed`, `skipped` tests, or the verdict of a benchmark.

Beside the levels, `promises`: promise -> whether it holds, and the difference."""


def read_evidence(path: Path = EVIDENCE) -> Evidence:
    """The stored evidence; empty where there is none."""
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise PersonaError(f"{path} is not JSON ({error}): write it again with `pytest --write-evidence`.") from None


def checkout_evidence() -> Path | None:
    """The evidence file of a source checkout; None for an installed package, which is not written to."""
    return EVIDENCE if (EVIDENCE.parents[2] / "pyproject.toml").exists() else None


def levels(recipe: str, *, evidence: Evidence | None = None) -> dict[str, str]:
    """Level -> "pass", "fail" or "unknown" (no evidence, or only skipped tests) for one recipe id."""
    records = (read_evidence() if evidence is None else evidence).get(recipe, {})
    return {level: _state(level, records.get(level)) for level in LEVELS}


def _state(level: str, record: Mapping[str, Any] | None) -> str:
    if not record:
        return "unknown"
    if level == "efficacy":
        return "pass" if record["passed"] else "fail"
    if record["failed"]:
        return "fail"
    return "pass" if record["passed"] else "unknown"


def record_tests(outcomes: Iterable[tuple[str, str, str]], path: Path = EVIDENCE) -> None:
    """Replaces the test levels of all recipes by the outcomes of one test run; efficacy stays.

    Args:
        outcomes: (recipe id, level, "passed" | "failed" | "skipped"), one a test.
    """
    counts: Evidence = {}
    for recipe, level, outcome in outcomes:
        if level not in TEST_LEVELS:
            raise PersonaError(
                f"tests can prove {', '.join(TEST_LEVELS)}, not {level!r}: correct the evidence marker."
            )
        record = counts.setdefault(recipe, {}).setdefault(level, {"passed": 0, "failed": 0, "skipped": 0})
        record[outcome] += 1
    measured = ("efficacy", PROMISES)
    kept = {
        recipe: {name: each[name] for name in measured if name in each}
        for recipe, each in read_evidence(path).items()
        if any(name in each for name in measured)
    }
    _write({recipe: kept.get(recipe, {}) | counts.get(recipe, {}) for recipe in kept.keys() | counts.keys()}, path)


def record_efficacy(
    summaries: Sequence[Any], path: Path = EVIDENCE, *, promises: Mapping[str, Sequence[Any]] | None = None
) -> None:
    """Replaces the efficacy of all recipes by the verdicts of benchmark summaries (`summary.Summary`), and what became
    of their `promises` (recipe -> `promises.Outcome` objects); tests stay.
    """
    evidence = {
        recipe: {level: record for level, record in records.items() if level in TEST_LEVELS}
        for recipe, records in read_evidence(path).items()
    }
    for recipe, found in (promises or {}).items():
        evidence.setdefault(recipe, {})[PROMISES] = {
            f"{each.kind}, against {each.against}": {"holds": each.holds, "difference": each.text} for each in found
        }
    for summary in summaries:
        if (verdict := summary.verdict) is None:
            continue
        evidence.setdefault(summary.recipe, {})["efficacy"] = {
            "passed": verdict.passed,
            "fidelity_over_base": _numbers(verdict.fidelity),
            "obedience_over_copy_paste": _numbers(verdict.obedience),
            "concepts": summary.concepts,
            "seeds": summary.seeds,
        }
    _write(evidence, path)


def _numbers(interval: Any) -> dict[str, float | None]:
    return {
        name: None if value is None else round(value, 4)
        for name, value in (("mean", interval.mean), ("low", interval.low), ("high", interval.high))
    }


def _write(evidence: Evidence, path: Path) -> None:
    ordered = {
        recipe: {name: records[name] for name in (*LEVELS, PROMISES) if name in records}
        for recipe, records in sorted(evidence.items())
    }
    write_whole(path, (json.dumps(ordered, indent=2) + "\n").encode())
