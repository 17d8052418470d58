"""`persona bench`: benchmarks that can be resumed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .console import out, say

TOYBENCH = "toybench"


def bench(
    what: Annotated[
        str,
        typer.Argument(
            help="[cyan]toybench[/], [cyan]dreambench[/], [cyan]dreambench++[/], [cyan]customconcept101[/], "
            "[cyan]customconcept101-pairs[/], or a folder of your own pictures."
        ),
    ],
    recipes: Annotated[str, typer.Option(help="Recipe ids, or [cyan]all[/].", metavar="A B ...")] = "all",
    subjects: Annotated[
        str, typer.Option("--subjects", "--concepts", help="Subjects, or [cyan]all[/].", metavar="A B ...")
    ] = "all",
    kinds: Annotated[
        str, typer.Option(help="Only subjects of these kinds: object, animal, person, style.", metavar="A B ...")
    ] = "all",
    boards: Annotated[
        str,
        typer.Option(
            help="ToyBench: these groups of concepts, e.g. person or object@1 (one picture each).", metavar="A B ..."
        ),
    ] = "fitting",
    seeds: Annotated[str, typer.Option(help="Seeds; ToyBench takes 0 1, others 0.", metavar="0 1 ...")] = "",
    data: Annotated[Path | None, typer.Option(help="Folder with the benchmark's data.")] = None,
    base: options.Base = "toybox",
    clip: Annotated[str | None, typer.Option(help="CLIP model that judges: folder or Hub id.")] = None,
    dino: Annotated[str | None, typer.Option(help="DINO or DINOv2 model that judges: folder or Hub id.")] = None,
    segmenter: Annotated[str | None, typer.Option(help="CLIPSeg model, for masked metrics: folder or Hub id.")] = None,
    reward: Annotated[str, typer.Option(help="Preference model, by the name of its entry point.")] = "",
    noun: Annotated[str | None, typer.Option(help="What your own folder shows: dog, toy, woman.")] = None,
    kind: options.Kind = None,
    numbers: options.RecipeNumbers = None,
    images_per_prompt: Annotated[int | None, typer.Option(help="Pictures a prompt.", min=1)] = None,
    prompts: Annotated[int | None, typer.Option(help="Prompts a subject; all when left out.", min=1)] = None,
    class_pictures: Annotated[
        int | None, typer.Option(help="Pictures of the class, made with the concept attached, for PRES.", min=0)
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Sampler steps a picture.", min=1)] = None,
    guidance: options.Guidance = None,
    workers: Annotated[int, typer.Option(help="Processes or Ray workers, each with one thread.", min=1)] = 1,
    executor: Annotated[
        str | None, typer.Option(help="local, processes or ray; by the number of workers when left out.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the result rows.")] = None,
    docs: Annotated[Path | None, typer.Option(help="Folder of the page and its pictures.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder that keeps every picture.")] = None,
    real: Annotated[Path | None, typer.Option(help="Real pictures of the class, for FID; needs --pictures.")] = None,
    inception: Annotated[
        Path | None, typer.Option(help="Weights of FID's Inception network; DINO's features without them.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Compute finished rows once more.")] = False,
    precision: options.Precision = "fp32",
    device: options.Device = "auto",
) -> None:
    """Learn subjects with each recipe, generate prompts, score the pictures, and write a page.

    A finished row is never computed twice: stop it when you like, and run the same command to go on. Lists take spaces
    or commas. Without --clip and --dino the Toybox's instruments judge, which need no download and know only drawn
    pictures; the page says so in its title.

    [bold]Examples[/]

    [cyan]persona bench toybench --workers 2[/]  (each recipe on the concepts that it is for)

    [cyan]persona bench toybench --recipes lora --boards person style[/]

    [cyan]persona bench toybench --recipes lora textual-inversion --kinds person --seeds 0[/]

    [cyan]persona bench dreambench --data dreambench --base models/sd15 --clip models/clip --dino models/dino[/]

    [cyan]persona bench my-pictures --noun dog --recipes lora --executor ray --workers 4[/]
    """
    from diffusers_persona import recipes as registry
    from diffusers_persona.errors import PersonaError
    from diffusers_persona.evaluation.executors import executor as executor_of

    given = {"data": data, "clip": clip, "dino": dino, "segmenter": segmenter, "reward": reward}
    given |= {"noun": noun, "kind": kind, "real": real, "inception": inception}
    names = [entry.id for entry in registry.list()] if recipes == "all" else options.words(recipes, "--recipes")
    by_recipe = options.by_recipe(names, options.assignments(numbers))
    common: dict[str, Any] = {
        "kinds": () if kinds == "all" else options.words(kinds, "--kinds"),
        "pictures": pictures,
        "executor": executor_of(executor, workers),
        "resume": not again,
        "numbers_overrides": {name: values for name, values in by_recipe.items() if values},
        "report": lambda line: say(line.replace("[", "\\[")),
    }
    made = {
        "images_per_prompt": images_per_prompt,
        "prompts": prompts,
        "class_pictures": class_pictures,
        "steps": steps,
        "guidance": guidance,
    }
    chosen = None if subjects == "all" else options.words(subjects, "--subjects")
    if what == TOYBENCH:
        changed = {"base": base != "toybox", "device": device != "auto", "precision": precision != "fp32"}
        if unused := [name for name, value in (given | changed).items() if value]:
            raise PersonaError(f"--{unused[0]} is not for toybench, which is the Toybox's own benchmark: leave it out")
        if boards != "fitting":
            chosen = _concepts_on(options.words(boards, "--boards"), chosen)
        page = _toybench(names, chosen, _seeds(seeds or "0,1"), output, docs, made, common)
    elif boards != "fitting":
        raise PersonaError(f"--boards is for toybench: leave it out for {what}")
    else:
        distance = {name: given.pop(name) for name in ("real", "inception")}
        world = dict(given)
        world |= {"base": base, "device": device, "precision": precision}
        page = _protocol(what, names, chosen, _seeds(seeds or "0"), output, docs, made, common | distance, world)
    out.print(str(page), markup=False)


def _concepts_on(boards: list[str], names: list[str] | None) -> list[str]:
    from diffusers_persona.errors import PersonaError
    from diffusers_persona.evaluation.boards import concepts_of

    if names:
        raise PersonaError("--boards and --concepts both choose concepts: give one of them")
    return [concept for board in boards for concept in concepts_of(board)]


def _seeds(text: str) -> list[int]:
    from diffusers_persona.errors import PersonaError

    try:
        return [int(seed) for seed in options.words(text, "--seeds")]
    except ValueError:
        raise PersonaError(f"--seeds {text!r} is not a list of whole numbers") from None


def _toybench(recipes, concepts, seeds, output, docs, made, common) -> Path:
    from dataclasses import replace

    from diffusers_persona.evaluation import toybench

    docs = docs or Path("docs")
    settings = replace(toybench.BOARD, **{name: value for name, value in made.items() if value is not None})
    output = output or Path("benchmarks") / TOYBENCH
    toybench.run(recipes, concepts, seeds, output=output, docs=docs, settings=settings, **common)
    return docs / "scoreboard.md"


def _protocol(what, recipes, subjects, seeds, output, docs, made, common, world) -> Path:
    from diffusers_persona.evaluation import benchmark
    from diffusers_persona.evaluation.making import Settings
    from diffusers_persona.evaluation.protocols import protocol
    from diffusers_persona.evaluation.worlds import World

    from .hosts import TOYBOX, TOYBOX_GUIDANCE, open_base

    declared = protocol(what)
    numbers = {"images_per_prompt": declared.images_per_prompt, "steps": declared.steps, "guidance": declared.guidance}
    if world["base"] == TOYBOX:
        numbers |= {"steps": Settings.steps, "guidance": TOYBOX_GUIDANCE}
    numbers |= {name: value for name, value in made.items() if value is not None}
    own = Path(f"bench-{Path(what).resolve().name}") if declared.id == "folder" else None
    output = output or (own / "rows" if own else Path("benchmarks") / declared.slug)
    docs = docs or own or Path("docs")
    benchmark.run(
        World(protocol=what, open_base=open_base, **world),
        recipes,
        subjects,
        seeds,
        settings=Settings(**numbers),
        output=output,
        docs=docs,
        **common,
    )
    return docs / f"{declared.slug}.md"


class WordLists(typer.core.TyperCommand):
    """A command whose list options take spaces as well as commas: ``--recipes lora dreambooth --seeds 0 1``."""

    LISTS = ("--recipes", "--subjects", "--concepts", "--kinds", "--boards", "--seeds")

    def parse_args(self, ctx, args):
        """Joins the words after a list option, up to the next option, with commas."""
        joined: list[str] = []
        reading = False
        for word in args:
            if reading and not word.startswith("-") and joined[-1] not in self.LISTS:
                joined[-1] += f",{word}"
            else:
                reading = word in self.LISTS or (reading and joined[-1] in self.LISTS)
                joined.append(word)
        return super().parse_args(ctx, joined)
