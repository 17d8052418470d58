"""`persona convert`: from one file format to another."""

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .console import out, say


def convert(
    file: Annotated[str, typer.Argument(help="A file, a folder or a Hub repository in a known format.")],
    output: Annotated[Path, typer.Argument(help="The file or folder to write.", metavar="OUT")],
    to: Annotated[
        str | None, typer.Option(help="Format to write: diffusers, a1111, kohya, original, ...", metavar="FORMAT")
    ] = None,
    token: Annotated[
        list[str] | None, typer.Option(help="The word for the concept; once for each word of the file.")
    ] = None,
    noun: options.Noun = None,
    base: Annotated[
        str | None, typer.Option(help="Base model that it is for, where the format asks.", metavar="DIR|toybox")
    ] = None,
) -> None:
    """Turn a file of one programme into one of another, or a pickle into safetensors.

    Without --to, OUT is a concept folder; or, when it ends in [cyan].safetensors[/], the tensors of FILE under the
    keys that they have there. Nothing in FILE is executed.

    [bold]Examples[/]

    [dim]# an old pickle, without its risks; keys as they are[/]
    [cyan]persona convert embedding.pt embedding.safetensors[/]

    [dim]# a LoRA of kohya's trainer for diffusers[/]
    [cyan]persona convert lora.safetensors folder --to diffusers[/]

    [dim]# anything known, as a concept folder of this library[/]
    [cyan]persona convert easynegative.pt runs/negative --token easynegative[/]
    """
    from diffusers_persona.concept import Concept
    from diffusers_persona.formats.contents import SUFFIXES

    if to is None and output.suffix in SUFFIXES:
        from diffusers_persona.formats.exporting import as_safetensors

        written = [as_safetensors(file, output)]
    else:
        from .hosts import open_base

        pipe = open_base(base, device="cpu") if base else None
        words = {} if not token else {"token": token[0] if len(token) == 1 else token}
        concept = Concept.from_file(file, noun=noun or "thing", base=pipe, **words)
        if concept.report is not None:
            say(f"{concept.report}")
        written = [concept.save_pretrained(output)] if to is None else concept.export(to, output, pipe=pipe)
    for path in written:
        out.print(str(path), markup=False)
