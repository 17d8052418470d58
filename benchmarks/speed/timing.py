"""Two things timed in turns in one process, so that a busy machine slows both alike; and the rows of results."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROWS = Path(__file__).with_name("rows.jsonl")
PACKAGES = ("diffusers-persona", "diffusers", "transformers", "peft", "torch")


class Turns:
    """A callback of `learn` that times its steps, and after each step every one of `calls`.

    Attributes:
        steps: seconds of the steps but the first, which ends before the clock runs.
        seconds: for each call, its seconds after every step.
    """

    def __init__(self, *calls: Callable):
        self.calls, self.steps, self.seconds = calls, [], [[] for _ in calls]
        self.mark: float | None = None

    def __call__(self, done: int, loss: float):
        if self.mark is not None:
            self.steps.append(time.perf_counter() - self.mark)
        for call, seconds in zip(self.calls, self.seconds):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        self.mark = time.perf_counter()


def ratio(ours: list[float], theirs: list[float]) -> dict:
    """Median of the round-by-round ratios with their quartiles, and the median seconds of both."""
    ratios = sorted(a / b for a, b in zip(ours, theirs))
    quarters = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "ratio": round(statistics.median(ratios), 4),
        "quartiles": [round(quarters[0], 4), round(quarters[2], 4)],
        "seconds": [round(statistics.median(ours), 5), round(statistics.median(theirs), 5)],
        "rounds": len(ratios),
    }


def put(name: str, *, what: str, target: str, **numbers) -> dict:
    """Writes the row called `name` in place of the earlier one of that name, and prints it."""
    row = {
        "name": name,
        "what": what,
        "target": target,
        **numbers,
        "command": f"make bench ARGS='{' '.join(sys.argv[1:])}'",
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }
    rows = {r["name"]: r for r in read()} | {name: row}
    text = "".join(json.dumps(rows[key], sort_keys=True) + "\n" for key in sorted(rows))
    temporary = ROWS.with_suffix(".new")
    temporary.write_text(text)
    os.replace(temporary, ROWS)
    shown = {k: numbers[k] for k in ("ratio", "quartiles", "seconds", "value", "curve") if k in numbers}
    print(f"{name:45} {json.dumps(shown)}  target {target}", flush=True)
    return row


def read() -> list[dict]:
    """The stored rows."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def machine() -> str:
    """The processor in words."""
    import torch

    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{name}, {torch.get_num_threads()} threads of {os.cpu_count()}"
