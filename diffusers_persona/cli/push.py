"""`persona push`: a concept folder becomes a repository on the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from .console import out, say


def push(
    folder: Annotated[Path, typer.Argument(help="The concept's folder.")],
    repo: Annotated[str, typer.Argument(help="Where to publish it: user/name.", metavar="USER/NAME")],
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Visibility; the account's default when left out.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch; made where there is none.")] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    consent: Annotated[
        bool, typer.Option("--i-have-consent", help="Every person shown agreed to this; needed for people.")
    ] = False,
) -> None:
    """Publish a concept on the Hub, in one commit, with a card that says how to use it.

    Log in first with [cyan]hf auth login[/], or set HF_TOKEN. Nothing but the concept's own files leaves the folder.

    [bold]Examples[/]

    [cyan]persona push runs/toy user/my-toy --private[/]

    [dim]# a second version, on a branch of its own[/]
    [cyan]persona push runs/toy-2 user/my-toy --revision v2[/]

    [dim]# a person's face is published only when that person agreed[/]
    [cyan]persona push runs/anna user/anna --private --i-have-consent[/]
    """
    from diffusers_persona.concept import Concept
    from diffusers_persona.errors import PersonaError

    if not folder.is_dir():
        raise PersonaError(f"{folder}: no such folder; name the folder that `persona learn` wrote")
    concept = Concept.from_pretrained(folder)
    url = concept.push_to_hub(repo, private=private, revision=revision, commit_message=message, consent=consent)
    say(f"Published. Anyone who may see it writes [bold]Concept.from_pretrained('{repo}')[/], or:")
    say(f"  persona generate {repo} --prompt 'a {{}} on the beach'")
    out.print(url, markup=False)
