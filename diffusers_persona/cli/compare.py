"""`persona compare`: several recipes on one concept, side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .console import out, say

PROMPTS = (
    "a {} on the beach",
    "a {} in the snow",
    "a {} on a red background",
    "a painting of a {}",
    "a {} next to a cat",
)


def compare(
    recipes: Annotated[str, typer.Option(help="Recipe ids, separated by commas.", metavar="A,B,...")],
    images: Annotated[str, typer.Option(help="A folder of pictures, or [cyan]toybox:NAME[/].")],
    base: options.Base = "toybox",
    noun: options.Noun = None,
    kind: options.Kind = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="A prompt with {} for the concept. May be repeated.")
    ] = None,
    numbers: options.RecipeNumbers = None,
    count: Annotated[int, typer.Option(help="Pictures a prompt; the grid shows the first.", min=1)] = 2,
    seed: options.Seed = 0,
    steps: options.Steps = 25,
    guidance: options.Guidance = None,
    output: Annotated[Path, typer.Option(help="Folder for compare.png and the concepts.")] = Path("comparison"),
    precision: options.Precision = "auto",
    device: options.Device = "auto",
) -> None:
    """Learn one concept with several recipes and show them side by side.

    Every row starts from the same noise, and the grid shows the first picture of each prompt, not the best. On the
    Toybox the table measures fidelity and obedience with its own instruments; on other models it tells time and size.

    [bold]Examples[/]

    [cyan]persona compare --recipes textual-inversion,lora --images toybox:ufo[/]

    [cyan]persona compare --recipes lora,dreambooth --images my-dog/ --noun dog --base models/sd15[/]
    """
    from diffusers_persona import recipes as registry
    from diffusers_persona.evaluation.grids import labelled_grid
    from diffusers_persona.evaluation.metrics import class_prompt
    from diffusers_persona.inversion.images import load_images

    from . import experiment
    from .hosts import TOYBOX, guidance_of, open_base, open_subject
    from .pictures import save

    names = options.words(recipes, "--recipes")
    chosen = options.by_recipe(names, options.assignments(numbers))
    for name in names:
        registry.get(name).resolve(chosen[name])
    subject = open_subject(images, noun, kind)
    prompts = _prompts(prompt, base == TOYBOX, subject.kind)
    titles = [class_prompt(each.template, subject.noun) for each in prompts]
    pictures = load_images(subject.images)
    references = [example.image for example in pictures]
    pipe = open_base(base, device=device, precision=precision)

    sampling = experiment.Sampling(count=count, seed=seed, steps=steps, guidance=guidance_of(base, guidance))
    shown = [experiment.base_row(pipe, subject.noun, prompts, sampling)]
    for name in names:
        facts = {"noun": subject.noun, "kind": subject.kind, "seed": seed, "precision": precision}
        facts["templates"] = subject.templates
        place = output / name
        shown.append(
            experiment.learned_row(
                pipe, pictures, name, prompts, sampling, output=place, numbers=chosen[name], **facts
            )
        )
    measured = [*shown, experiment.copy_paste_row(references, prompts)]
    if base == TOYBOX:
        experiment.measure(measured, references, prompts, subject)
    experiment.print_table(measured if base == TOYBOX else shown)
    rows = experiment.grid_rows(references[: len(titles)], shown)
    grid = labelled_grid(
        rows, titles, cell=128 if base == TOYBOX else 256, title=f"{subject.name}: {', '.join(names)}", titles_after=1
    )
    say(f"The concepts are in {output}; the grid:")
    out.print(str(save(grid, output / "compare.png")), markup=False)


def _prompts(texts: list[str] | None, on_toybox: bool, kind: str) -> list[Any]:
    from diffusers_persona.evaluation.subjects import Prompt

    from .experiment import varied

    if texts:
        return [Prompt(template=text) for text in texts]
    if not on_toybox:
        return [Prompt(template=text) for text in PROMPTS]
    from diffusers_persona.toybox import prompts

    every = list(prompts.for_kind(kind))
    return [every[index] for index in varied(every, 2)]
