"""How long the package and its command line take to start, each in a fresh process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import timing


def measure(rounds: int = 5):
    """`import diffusers_persona` and `persona recipes`."""
    persona = str(Path(sys.executable).with_name("persona"))
    for name, command, bare, target in (
        ("import", [sys.executable, "-c", "import diffusers_persona"], [sys.executable, "-c", ""], "< 1 s"),
        ("persona recipes", [persona, "recipes"], [sys.executable, "-c", ""], "< 1.5 s"),
    ):
        seconds = [_seconds(command) for _ in range(rounds)]
        empty = [_seconds(bare) for _ in range(rounds)]
        timing.put(
            f"start {name}",
            what=f"seconds of `{name}` in a fresh process (an empty Python takes {statistics.median(empty):.2f} s)",
            target=target,
            value=round(statistics.median(seconds), 3),
        )


def _seconds(command) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start
