"""A run's folder: the plan that is written before the first step, and what a finished run leaves."""

from __future__ import annotations

import json
from pathlib import Path

from ..concept import HEADER_FILE
from ..errors import PersonaError
from ..files import write_whole
from . import checkpoint

RUN_FILE = "run.json"


def earlier_run(path: Path) -> dict:
    """The plan of an earlier run, from its ``run.json``.

    Raises:
        PersonaError: naming the file when it is damaged.
    """
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise PersonaError(f"{path}: not readable; learn into a new folder") from error
    if not isinstance(plan, dict):
        raise PersonaError(f"{path}: not the record of a run; learn into a new folder")
    return plan


def open_run(folder: Path, places: list[Path], plan: dict, resume: bool) -> bool:
    """Writes the plan before step 0, or checks it against the one in `folder`; whether the run is finished already.

    Args:
        places: where the finished concepts go.

    Raises:
        PersonaError: when `folder` holds a run that is not to be gone on with, or another one.
    """
    path = folder / RUN_FILE
    present = json.loads(json.dumps(plan, default=list))
    finished = [(place / HEADER_FILE).exists() for place in places]
    if path.exists() and resume:
        earlier = earlier_run(path)
        changed = [key for key in present if earlier.get(key) != present[key]]
        if changed:
            raise PersonaError(
                f"{folder} holds another run: {', '.join(changed)} differ; use the same settings or a new folder"
            )
        return all(finished)
    if any(finished) or (folder / checkpoint.FILE).exists():
        raise PersonaError(f"{folder} holds a run already; go on with resume, or choose a new folder")
    write_whole(path, json.dumps(present, indent=2, sort_keys=True).encode())
    return False
