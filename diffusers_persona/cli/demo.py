"""`persona demo`: the whole job on the embedded Toybox, in minutes on a laptop's CPU, with one picture to look at."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .console import out, say

REFERENCES = 4
SECOND_RECIPE = "textual-inversion"
COMPOSITIONS = {
    "style": ("a {1} of a {0}", "a {1} of a {0} in the snow", "a {1} of a {0} in the city"),
    "person": ("a {1} next to a {0}", "a {1} next to a {0} in the snow", "a {1} next to a {0} in the city"),
}


def demo(
    toy: Annotated[str, typer.Option(help="The held-out toy to learn; any name of toybox.concepts().")] = "pumpkin",
    second: Annotated[str, typer.Option(help="The second concept, a person or a style.")] = "diana-evans",
    recipes: Annotated[
        str, typer.Option(help="Two or more recipe ids, separated by commas.")
    ] = "textual-inversion,lora",
    numbers: options.RecipeNumbers = None,
    seed: options.Seed = 0,
    steps: options.Steps = 25,
    output: Annotated[Path, typer.Option(help="Folder for demo.png and the learned concepts.")] = Path("demo"),
) -> None:
    """Learn a toy that the model has never seen from 4 pictures, put it in new scenes, and measure the result.

    Nothing is downloaded. The picture shows what was learned from, what the base model makes of the words, what each
    recipe makes, and the toy of the first recipe together with a second learned concept. Rows share their noise; no
    picture was picked.

    [bold]Examples[/]

    [cyan]persona demo[/]

    [cyan]persona demo --toy hedgehog --recipes lora,custom-diffusion --seed 1[/]
    """
    from diffusers_persona import toybox
    from diffusers_persona.evaluation.grids import labelled_grid, stack
    from diffusers_persona.evaluation.metrics import class_prompt
    from diffusers_persona.inversion.images import load_images

    from . import experiment
    from .hosts import TOYBOX, TOYBOX_GUIDANCE, open_base, open_subject
    from .pictures import save

    start = time.perf_counter()
    subject = open_subject(f"{TOYBOX}:{toy}", None, None)
    names = options.words(recipes, "--recipes")
    given = options.by_recipe(list(dict.fromkeys([*names, SECOND_RECIPE])), options.assignments(numbers))
    every = list(toybox.prompts.for_kind(subject.kind))
    chosen = experiment.varied(every, 2)
    prompts = [every[index] for index in chosen]
    pictures = load_images(subject.images[:REFERENCES])
    references = [example.image for example in pictures]
    pipe = open_base(TOYBOX)
    sampling = experiment.Sampling(count=2, seed=seed, steps=steps, guidance=TOYBOX_GUIDANCE)
    facts = {"noun": subject.noun, "kind": subject.kind, "seed": seed}

    base = experiment.base_row(pipe, subject.noun, prompts, sampling)
    learned = [
        experiment.learned_row(
            pipe, pictures, name, prompts, sampling, output=output / name, numbers=given[name], **facts
        )
        for name in names
    ]
    rows = [base, *learned, experiment.copy_paste_row(references, prompts), _oracle(subject.toy, chosen)]
    experiment.measure(rows, references, prompts, subject)
    together = _composition(pipe, learned[0].concept, second, sampling, output, given[SECOND_RECIPE])

    titles = [class_prompt(prompt.template, subject.noun) for prompt in prompts]
    title = f"A toy the model has never seen, learned from {len(references)} pictures"
    sheet = labelled_grid(experiment.grid_rows(references, [base, *learned]), titles, title=title, titles_after=1)
    picture = save(stack(sheet, together), output / "demo.png")
    experiment.print_table(rows)
    say("Fidelity (DINO-I, recognised): is it this toy? Obedience: is the rest as the prompt says?")
    say(f"{time.perf_counter() - start:.0f} s in all.")
    say(f"Next: persona generate {output / names[-1]} --prompt 'a {{}} in the forest'. The picture:")
    out.print(str(picture), markup=False)


def _oracle(toy: Any, indices: list[int]) -> Any:
    """Real renderings of the toy in each prompt: the ceiling."""
    from PIL import Image

    from .experiment import Contender

    files = [Path(toy.folder) / "oracle" / f"{index:02d}.png" for index in indices]
    return Contender(name="real pictures", pictures=[[Image.open(file).convert("RGB")] for file in files])


def _composition(pipe: Any, concept: Any, second: str, sampling: Any, output: Path, numbers: Mapping[str, Any]) -> Any:
    """Learn the second concept, attach both, and draw them together."""
    import dataclasses

    from diffusers_persona.evaluation.grids import labelled_grid
    from diffusers_persona.inversion.images import load_images
    from diffusers_persona.training.learn import learn

    from .hosts import TOYBOX, open_subject
    from .pictures import fill, generate

    other = open_subject(f"{TOYBOX}:{second}", None, None)
    say(f"learning a second concept, a {other.kind}, with [bold]{SECOND_RECIPE}[/]")
    pictures = load_images(other.images[:REFERENCES])
    facts = {"noun": other.noun, "kind": other.kind, "seed": sampling.seed, "templates": other.templates}
    learned = learn(pipe, pictures, SECOND_RECIPE, **facts, **numbers)
    learned.save_pretrained(output / other.name)
    templates = COMPOSITIONS["style" if other.kind == "style" else "person"]
    texts = [fill(template, [concept.phrase, learned.phrase]) for template in templates]
    with concept.attach(pipe), learned.attach(pipe):
        made = generate(pipe, texts, label="together", **dataclasses.asdict(sampling))
    titles = [template.format("<toy>", f"<{other.kind}>") for template in templates for _ in range(2)]
    rows = [
        (f"the {other.kind}\nlearned from these", [example.image for example in pictures]),
        (f"both together\n{concept.header['recipe']} + {SECOND_RECIPE}", [one for pair in made for one in pair[:2]]),
    ]
    return labelled_grid(rows, titles, title=f"… and together with a second concept, a {other.kind}", titles_after=1)
