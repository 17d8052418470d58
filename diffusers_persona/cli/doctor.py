"""`persona doctor`: is this machine ready, and what is missing?"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import out, table

GIB = 1024**3
PACKAGE = "diffusers-persona"


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON, for a bug report.")] = False,
) -> None:
    """Show versions, devices, memory, missing optional packages, and whether the Toybox is whole.

    Exit code 2 when something needed is missing or too old.

    [bold]Examples[/]

    [cyan]persona doctor[/]

    [cyan]persona doctor --json > report.json[/]
    """
    import json

    from diffusers_persona.errors import PersonaError

    needed, optional = _requirements()
    report = {
        "system": _system(),
        "packages": needed,
        "optional": optional,
        "devices": _devices(),
        "toybox": _toybox(),
    }
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        table("System", ("what", "value"), [*report["system"].items(), *report["devices"].items()])
        columns = ("package", "installed", "wanted", "state")
        table("Packages", columns, [[row[name] for name in columns] for row in needed])
        columns = ("extra", "package", "installed", "state")
        table("Optional", columns, [[row[name] for name in columns] for row in optional])
        table("Toybox", ("part", "state"), report["toybox"].items())
    problems = [f"{row['package']} {row['wanted']} is {row['state']}" for row in needed if row["state"] != "ok"]
    problems += [f"the Toybox's {part} is {state}" for part, state in report["toybox"].items() if "damaged" in state]
    if problems:
        raise PersonaError("; ".join(problems) + ": reinstall with pip install --upgrade diffusers-persona")
    if not as_json:
        out.print("Everything needed is here. Next: persona demo", style="green")


def _system() -> dict[str, str]:
    from diffusers_persona import __version__

    disk = shutil.disk_usage(Path.cwd())
    return {
        "diffusers_persona": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "disk free here": f"{disk.free / GIB:.1f} GiB",
        "Hub": "offline (HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", "") else "online",
    }


def _memory() -> str:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return "unknown"
    return f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB free"


def _devices() -> dict[str, str]:
    if importlib.util.find_spec("torch") is None:
        return {"devices": "unknown without torch"}
    import torch

    found = {"cpu": f"{torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        found[f"cuda:{index}"] = f"{facts.name}, {facts.total_memory / GIB:.1f} GiB, {bf16}"
    found["mps"] = "yes" if torch.backends.mps.is_available() else "none"
    return found if torch.cuda.is_available() else {**found, "cuda": "none"}


def _requirements() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The package's own declared requirements against what is installed: needed ones and those of extras."""
    from packaging.requirements import Requirement

    needed, optional = [], []
    try:
        declared = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return [{"package": PACKAGE, "installed": "", "wanted": "", "state": "not installed by pip"}], []
    for line in declared:
        requirement = Requirement(line)
        extra = next((name for name in _extras() if requirement.marker and _wants(requirement, name)), None)
        if requirement.marker and not extra and not requirement.marker.evaluate():
            continue
        if requirement.name == PACKAGE:
            continue
        row = {"package": requirement.name, "wanted": str(requirement.specifier), **_state(requirement)}
        if extra:
            optional.append({"extra": extra, **row})
        else:
            needed.append(row)
    return needed, optional


def _extras() -> list[str]:
    return importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []


def _wants(requirement, extra: str) -> bool:
    return requirement.marker.evaluate({"extra": extra}) and not requirement.marker.evaluate({"extra": ""})


def _state(requirement) -> dict[str, str]:
    try:
        installed = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return {"installed": "", "state": "missing"}
    fits = requirement.specifier.contains(installed, prereleases=True)
    return {"installed": installed, "state": "ok" if fits else "outside the tested range"}


def _toybox() -> dict[str, str]:
    """Every file of the embedded models is read to its end: a cut download shows here."""
    from diffusers_persona.errors import PersonaError
    from diffusers_persona.formats.safetensors_header import read_header

    root = Path(__file__).parents[1] / "toybox"
    parts: dict[str, str] = {}
    for folder in sorted(path for path in (root / "models").glob("*") if path.is_dir()):
        files = sorted(folder.rglob("*.safetensors"))
        try:
            count = sum(len(read_header(file)[0]) for file in files)
        except PersonaError as error:
            parts[folder.name] = f"damaged: {error}"
            continue
        size = sum(file.stat().st_size for file in files) / 1e6
        parts[folder.name] = f"{len(files)} files, {count} tensors, {size:.1f} MB" if files else "damaged: no weights"
    if "pipeline" not in parts:
        parts["pipeline"] = "damaged: missing"
    concepts = [path.parent for path in (root / "concepts").glob("*/concept.json")]
    parts["concepts"] = f"{len(concepts)} held-out concepts" if concepts else "damaged: missing"
    return parts
