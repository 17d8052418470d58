"""`persona inspect`: what is this file or folder?"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from .console import out, table


def inspect(
    path: Annotated[Path, typer.Argument(help="A file or a folder.")],
    keys: Annotated[bool, typer.Option("--keys", help="List every tensor with type and shape.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
) -> None:
    """Tell what a file or folder is by its content: header, keys, shapes, licence.

    A file that can be loaded as a concept is loaded, to count which of its keys match, are unused or missing.
    Nothing is executed: a pickle (.pt, .bin, .ckpt) is read as plain data, or refused with the name of what it asks
    for.

    [bold]Examples[/]

    [dim]# a concept folder: recipe, numbers, token, base model, licence[/]
    [cyan]persona inspect runs/toy[/]

    [dim]# a file from somewhere: which format, which rank, for which base model?[/]
    [cyan]persona inspect download.safetensors --keys[/]

    [dim]# are these pictures all right to learn from?[/]
    [cyan]persona inspect my-dog/[/]
    """
    from diffusers_persona.formats.probe import probe

    finding = probe(path, load=True)
    if as_json:
        print(json.dumps(dataclasses.asdict(finding), indent=2, default=str))
        return
    _show(finding)
    for part in finding.parts:
        if part.kind not in ("picture", "json", "unknown"):
            out.print()
            _show(part)
    if keys:
        tensors = [info for each in (finding, *finding.parts) for info in each.tensors]
        rows = [(info.name, info.dtype, "x".join(map(str, info.shape)) or "scalar") for info in tensors]
        table("Tensors", ("key", "type", "shape"), rows)
    if finding.next_step:
        out.print(f"Next: {finding.next_step}", markup=False, style="cyan")


def _show(finding) -> None:
    out.print(str(finding.path), markup=False, style="bold")
    out.print(finding.title, markup=False)
    rows = [(name, _plain(value)) for name, value in finding.facts.items() if value not in (None, "")]
    if finding.kind not in ("damaged", "picture"):
        rows.append(("licence", finding.licence or "not stated"))
    if rows:
        table(None, ("fact", "value"), rows)


def _plain(value) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
