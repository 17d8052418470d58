"""`persona pull`: a concept from the Hub into a folder."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from .console import out, say


def pull(
    repo: Annotated[str, typer.Argument(help="The concept's repository: user/name.", metavar="USER/NAME")],
    folder: Annotated[Path, typer.Argument(help="A new folder for it.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; the main branch when left out.")] = None,
) -> None:
    """Copy a concept from the Hub into a folder, checked and whole. Nothing in it is ever executed.

    Private and gated repositories need [cyan]hf auth login[/] or HF_TOKEN.

    [bold]Examples[/]

    [cyan]persona pull user/my-toy runs/my-toy[/]

    [dim]# as it was at a tag, a branch or a commit[/]
    [cyan]persona pull user/my-toy runs/my-toy-v2 --revision v2[/]
    """
    from diffusers_persona.hub import pull as copy

    copy(repo, folder, revision=revision)
    say(f"Copied. What is it?  persona inspect {escape(str(folder))}")
    out.print(str(folder), markup=False)
