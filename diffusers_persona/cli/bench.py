"""`persona bench`: benchmarks that can be resumed."""

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .console import help_text, out, say

app = typer.Typer(help="Run a benchmark.", rich_markup_mode="rich", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `toybench` a subcommand: other benchmarks stand beside it."""


def toybench(
    recipes: Annotated[
        str, typer.Option(help="Recipe ids, separated by commas, or [cyan]all[/].", metavar="A,B,...")
    ] = "all",
    concepts: Annotated[
        str, typer.Option(help="Toybox concepts, separated by commas, or [cyan]all[/].", metavar="A,B,...")
    ] = "all",
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.", metavar="0,1,...")] = "0,1",
    output: Annotated[Path, typer.Option(help="Folder of the result rows.")] = Path("benchmarks/toybench"),
    docs: Annotated[Path, typer.Option(help="Folder of scoreboard.md and images/pareto.png.")] = Path("docs"),
    numbers: options.RecipeNumbers = None,
    images_per_prompt: Annotated[int, typer.Option(help="Pictures a prompt.", min=1)] = 2,
    prompts: Annotated[int | None, typer.Option(help="Prompts a concept; all when left out.", min=1)] = None,
    steps: options.Steps = 25,
    workers: Annotated[int, typer.Option(help="Processes, each with one thread.", min=1)] = 1,
    again: Annotated[bool, typer.Option("--again", help="Compute finished rows once more.")] = False,
) -> None:
    """Learn held-out Toybox concepts with each recipe, generate, score; then write the scoreboard.

    A finished row is never computed twice: stop it when you like, and run the same command to go on.

    [bold]Examples[/]

    [cyan]persona bench toybench --workers 2[/]

    [cyan]persona bench toybench --recipes lora,textual-inversion --concepts ufo --seeds 0[/]
    """
    from diffusers_persona import recipes as registry
    from diffusers_persona.errors import PersonaError
    from diffusers_persona.evaluation import toybench as bench

    names = [entry.id for entry in registry.list()] if recipes == "all" else options.words(recipes, "--recipes")
    try:
        chosen_seeds = [int(seed) for seed in options.words(seeds, "--seeds")]
    except ValueError:
        raise PersonaError(f"--seeds {seeds!r} is not a comma-separated list of whole numbers") from None
    given = options.by_recipe(names, options.assignments(numbers))
    bench.run(
        names,
        None if concepts == "all" else options.words(concepts, "--concepts"),
        chosen_seeds,
        output=output,
        docs=docs,
        images_per_prompt=images_per_prompt,
        prompts=prompts,
        steps=steps,
        workers=workers,
        resume=not again,
        numbers_overrides={name: values for name, values in given.items() if values},
        report=lambda line: say(line.replace("[", "\\[")),
    )
    out.print(str(docs / "scoreboard.md"), markup=False)


app.command("toybench", help=help_text(toybench))(toybench)
