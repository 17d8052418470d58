"""`persona merge`: several concepts become one."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from . import options
from .console import out, progress, say


def merge(
    concepts: Annotated[
        list[str], typer.Argument(help="Concept folders or Hub ids, two or more.", metavar="CONCEPT...")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the merged concept.")],
    how: Annotated[
        str | None,
        typer.Option(
            help="A recipe whose merge is used ([cyan]ziplora[/], [cyan]custom-diffusion[/], ...), or a kind: "
            "[cyan]sum[/], [cyan]gradient-fusion[/], [cyan]content-and-style[/]; the concepts' own when left out.",
            metavar="RECIPE|KIND",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Base model; the one they were learned on when left out.", metavar="DIR|toybox"),
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="Ordinary captions, one a line, for merges that must keep the rest in place.")
    ] = None,
    pictures: Annotated[
        list[str] | None,
        typer.Option(help="Pictures of a concept, for merges that learn; once for each concept, in their order."),
    ] = None,
    numbers: options.Numbers = None,
    seed: options.Seed = 0,
    precision: options.Precision = "fp32",
    device: options.Device = "auto",
) -> None:
    """Make one concept of several.

    How is what the concepts' paper says: a closed form for Custom Diffusion, learned column by column for ZipLoRA, by
    a trained network for LoRA.rar, layer by layer for Mix-of-Show, a plain sum where concepts are orthogonal.

    [bold]Examples[/]

    [dim]# two concepts of one recipe, by the merge of its paper[/]
    [cyan]persona merge runs/dog runs/cat --captions captions.txt --output runs/both[/]

    [dim]# any LoRA of a subject with any LoRA of a style; pictures make it better[/]
    [cyan]persona merge runs/dog runs/sketch --how ziplora --pictures dog/ --pictures sketch/ --output runs/new[/]

    [dim]# the simplest one, at 0.6 each[/]
    [cyan]persona merge runs/dog runs/cat --how sum --set weight=0.6 --output runs/sum[/]
    """
    from diffusers_persona.schemes.merging import merge as join

    from .generate import base_of
    from .hosts import open_base, open_concepts

    chosen = options.assignments(numbers)
    loaded = open_concepts(concepts)
    pipe = open_base(base or base_of(loaded), device=device, precision=precision)
    with progress() as bar:
        task = bar.add_task("merging", total=None)
        merged = join(
            loaded,
            pipe,
            how=how,
            captions=_lines(captions),
            pictures=pictures,
            seed=seed,
            report=lambda done, of: bar.update(task, completed=done, total=of),
            **chosen,
        )
    merged.save_pretrained(output)
    say(f"Merged. Write [bold]{escape(merged.phrase)}[/] in a prompt, or {{}} here:")
    say(f"  persona generate {escape(str(output))} --prompt 'a {{}} on the beach'")
    out.print(str(output), markup=False)


def _lines(path: Path | None) -> list[str] | None:
    return None if path is None else [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
