"""`persona generate`: concepts and prompts in, pictures and one grid out."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .console import out, say


def generate(
    concepts: Annotated[
        list[str], typer.Argument(help="Concept folders or Hub ids; several work at once.", metavar="CONCEPT...")
    ],
    prompt: Annotated[list[str], typer.Option(help="A prompt with one {} for each concept. May be repeated.")],
    base: Annotated[
        str | None, typer.Option(help="Base model; the one it was learned on when left out.", metavar="DIR|toybox")
    ] = None,
    count: Annotated[int, typer.Option(help="Pictures a prompt.", min=1)] = 4,
    seed: options.Seed = 0,
    steps: options.Steps = 25,
    guidance: options.Guidance = None,
    negative: Annotated[str | None, typer.Option(help="What should not be in the pictures.")] = None,
    scale: Annotated[list[float] | None, typer.Option(help="Strength, for all or for each concept (repeat).")] = None,
    output: Annotated[Path, typer.Option(help="Folder for grid.png and the single pictures.")] = Path("pictures"),
    precision: options.Precision = "auto",
    device: options.Device = "auto",
) -> None:
    """Make pictures with one concept or several at once.

    [bold]Examples[/]

    [cyan]persona generate runs/toy --prompt "a {} on the beach" --prompt "a {} in the forest"[/]

    [dim]# two concepts in one picture: one {} for each, in the order they are given[/]
    [cyan]persona generate runs/toy runs/style --prompt "a {} next to a cat" --prompt "a {1} of a {0}"[/]

    [dim]# weaker, with another base model of the same family[/]
    [cyan]persona generate runs/dog --base models/my-sd15 --scale 0.7 --prompt "a {} as a knight"[/]
    """
    from .hosts import guidance_of, open_base, open_concepts
    from .pictures import fill
    from .pictures import generate as make

    loaded = open_concepts(concepts)
    scales = _scales(scale, len(loaded))
    wordless = [c.phrase for c in loaded if "provenance" in c.header and not any(s.adds_token for s in c.spaces)]
    prompts = [fill(template, [concept.phrase for concept in loaded], wordless) for template in prompt]
    base = base or base_of(loaded)
    pipe = open_base(base, device=device, precision=precision)
    guidance = guidance_of(base, guidance)
    negative = ", ".join(dict.fromkeys(text for text in (negative, *(c.negative for c in loaded)) if text)) or None
    with ExitStack() as attached:
        for concept, strength in zip(loaded, scales, strict=True):
            attached.enter_context(concept.attach(pipe, scale=strength))
        rows = make(pipe, prompts, count=count, seed=seed, steps=steps, guidance=guidance, negative=negative)
    _write(rows, prompts, seed, output)


def _scales(scales: list[float] | None, concepts: int) -> list[float]:
    from diffusers_persona.errors import PersonaError

    scales = scales or [1.0]
    if len(scales) == 1:
        return scales * concepts
    if len(scales) != concepts:
        raise PersonaError(
            f"--scale was given {len(scales)} times for {concepts} concepts; give it once, or once for each"
        )
    return scales


def base_of(concepts: list[Any]) -> str:
    """The base model that every concept names: the Toybox, a Hub id, or a folder in this one.

    Raises:
        PersonaError: they name different ones, or one that is not here: a header tells no places on a disk.
    """
    from diffusers_persona.card import base_name
    from diffusers_persona.errors import PersonaError

    from .hosts import TOYBOX

    names = sorted({base_name(concept.header) for concept in concepts})
    if len(names) == 1 and (names[0] == TOYBOX or "/" in names[0] or Path(names[0]).is_dir() and names[0]):
        return names[0]
    found = ", ".join(repr(name) for name in names if name) or "a model without a name"
    raise PersonaError(f"learned on {found}: say where that base model is, with --base FOLDER")


def _write(rows: list[list[Any]], prompts: list[str], seed: int, output: Path) -> None:
    from diffusers_persona.evaluation.grids import labelled_grid

    from .pictures import save, slug

    for number, (text, pictures) in enumerate(zip(prompts, rows, strict=True)):
        for index, picture in enumerate(pictures):
            save(picture, output / f"{number:02d}-{slug(text)}-seed{seed + index}.png")
    titles = [f"seed {seed + index}" for index in range(len(rows[0]))]
    cell = 128 if max(rows[0][0].size) <= 128 else 256
    grid = save(labelled_grid(list(zip(prompts, rows, strict=True)), titles, cell=cell), output / "grid.png")
    say(f"{sum(map(len, rows))} pictures in {output}; all together:")
    out.print(str(grid), markup=False)
