"""`persona recipes`: the methods that are here, and what is known about each."""

import dataclasses
import json
from typing import Annotated, Any

import typer

from .console import out, table


def recipes(
    recipe: Annotated[str | None, typer.Argument(help="Show this one in full.", metavar="ID")] = None,
    family: Annotated[str | None, typer.Option(help="Only this family: diffusion, gan, ar.")] = None,
    category: Annotated[str | None, typer.Option(help="Only this category: subject, face, multi, style, ...")] = None,
    backbone: Annotated[str | None, typer.Option(help="Only what serves this backbone: sd, sdxl, ...")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list for programs.")] = False,
) -> None:
    """List the recipes, or show one.

    The levels are computed from evidence that tests and benchmarks leave behind: [bold]contract[/] (it keeps the rules
    of a recipe), [bold]parity[/] (its maths equals the paper's or the official code's), [bold]efficacy[/] (it beats
    the base model on ToyBench), [bold]formats[/] (official files load). Where nothing was measured they say "unknown".

    [bold]Examples[/]

    [cyan]persona recipes[/]

    [cyan]persona recipes lora[/]

    [cyan]persona recipes --family diffusion --backbone sdxl --json[/]
    """
    from diffusers_persona import recipes as registry

    if recipe:
        entries = [registry.get(recipe)]
    else:
        entries = registry.list(family=family, category=category, backbone=backbone)
    rows = [describe(entry) for entry in entries]
    if as_json:
        print(json.dumps(rows, indent=2))
    elif recipe:
        _show(entries[0], rows[0])
    elif rows:
        columns = (
            "id",
            "category",
            "space",
            "method",
            "ref",
            "backbones",
            "contract",
            "parity",
            "efficacy",
            "formats",
        )
        table(None, columns, [_cells(row) for row in rows], right=("ref",))
        out.print(f"{len(rows)} recipes; persona recipes ID shows one", style="dim")
    else:
        out.print("no recipe matches these filters", style="dim")


def describe(entry: Any) -> dict[str, Any]:
    """What programs get about a recipe: its place in the survey and its four levels."""
    from diffusers_persona.evaluation import levels

    return {
        "id": entry.id,
        "family": entry.family,
        "category": entry.category,
        "space": list(entry.space),
        "method": entry.method,
        "ref": entry.ref,
        "backbones": list(entry.backbones),
        "levels": levels.levels(entry.id),
    }


def _cells(row: dict[str, Any]) -> list[Any]:
    from diffusers_persona.evaluation.methods import counted

    levels = [row["levels"][name] for name in ("contract", "parity", "efficacy", "formats")]
    lists = counted(row["space"]), row["method"], row["ref"], ", ".join(row["backbones"])
    return [row["id"], row["category"], *lists, *levels]


def _show(entry: Any, row: dict[str, Any]) -> None:
    from diffusers_persona.evaluation.methods import counted

    out.print(f"[bold]{entry.id}[/]  {entry.name}")
    facts = {
        "paper": f"arXiv {entry.paper}" if entry.paper else None,
        "survey reference": entry.ref,
        "family, category": f"{entry.family}, {entry.category}",
        "space": counted(row["space"]),
        "method": row["method"],
        "backbones": ", ".join(row["backbones"]),
        "official code": entry.code,
        "its licence": entry.licence,
        "departures": entry.departures,
    }
    facts |= {f"level: {name}": level for name, level in row["levels"].items()}
    table(None, ("fact", "value"), [(name, value) for name, value in facts.items() if value not in (None, "")])
    numbers = [(name, _number(value), entry.miniature.get(name)) for name, value in entry.defaults.items()]
    table("Numbers (change one with --set NAME=VALUE)", ("name", "paper", "on the Toybox"), numbers)
    out.print(f"persona learn PICTURES --recipe {entry.id} --noun dog", markup=False, style="cyan")


def _number(value: Any) -> str:
    return repr(value) if dataclasses.is_dataclass(value) else json.dumps(value, default=repr)
