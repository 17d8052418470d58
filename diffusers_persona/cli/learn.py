"""`persona learn`: pictures in, a concept folder out."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from . import options
from .console import out, say


def learn(
    images: Annotated[
        str, typer.Argument(help="A folder of pictures, one picture, or [cyan]toybox:NAME[/].", metavar="IMAGES")
    ],
    recipe: Annotated[str, typer.Option(help="How to learn it; see [cyan]persona recipes[/].")] = "lora",
    base: options.Base = "toybox",
    token: options.Token = None,
    noun: options.Noun = None,
    kind: options.Kind = None,
    output: Annotated[Path | None, typer.Option(help="Folder for checkpoints and the finished concept.")] = None,
    steps: Annotated[int | None, typer.Option(help="Learning steps; the recipe's own when left out.", min=1)] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate; the recipe's own when left out.")] = None,
    numbers: options.Numbers = None,
    seed: options.Seed = 0,
    batch_size: Annotated[int | None, typer.Option(help="Pictures a step.", min=1)] = None,
    accumulation: Annotated[int, typer.Option(help="Steps whose gradients are added up.", min=1)] = 1,
    resolution: Annotated[
        int | None, typer.Option(help="Side in pixels; the model's own when left out.", min=8)
    ] = None,
    precision: options.Precision = "auto",
    device: options.Device = "auto",
    masks: Annotated[Path | None, typer.Option(help="Folder of masks: the loss counts inside them only.")] = None,
    templates: Annotated[
        list[str] | None,
        typer.Option("--template", help="A learning prompt with {phrase}, in place of the recipe's. May be repeated."),
    ] = None,
    prior_images: Annotated[Path | None, typer.Option(help="Real class pictures, for prior preservation.")] = None,
    preview_every: Annotated[
        int, typer.Option(help="Write preview pictures every N steps; 0 writes none.", min=0)
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --output.")] = False,
    skip_bad_pictures: Annotated[
        bool, typer.Option("--skip-bad-pictures", help="Leave out pictures that cannot be read.")
    ] = False,
    licence: Annotated[
        str, typer.Option(help="Licence of the concept, e.g. cc-by-4.0; written into its header.")
    ] = "",
    consent: Annotated[str, typer.Option(help="Where the pictures are from and who agreed; needed for people.")] = "",
) -> None:
    """Learn a concept from a few pictures.

    [bold]Examples[/]

    [dim]# a held-out toy of the embedded world: nothing is downloaded[/]
    [cyan]persona learn toybox:ufo --recipe textual-inversion --token "<toy>" --output runs/toy[/]

    [dim]# your own dog, on your own Stable Diffusion folder[/]
    [cyan]persona learn my-dog/ --base models/sd15 --token sks --noun dog --kind live --output runs/dog[/]

    [dim]# killed half way? the same command goes on, to the same concept[/]
    [cyan]persona learn my-dog/ --base models/sd15 --token sks --noun dog --kind live --output runs/dog --resume[/]
    """
    from diffusers_persona import recipes

    given = {"steps": steps, "lr": lr, "batch_size": batch_size}
    chosen = options.assignments(numbers) | {name: value for name, value in given.items() if value is not None}
    options.one_of(precision, options.PRECISIONS, "--precision")
    recipes.get(recipe).resolve(chosen)
    output = output or Path("runs") / f"{Path(images.replace(':', '-')).name}-{recipe}"

    from diffusers_persona.training.learn import learn as teach

    from .hosts import open_base, open_subject

    subject = open_subject(images, noun, kind)
    concept = teach(
        open_base(base, device=device, precision=precision),
        subject.images,
        recipe,
        token=token,
        noun=subject.noun,
        kind=subject.kind,
        seed=seed,
        output=output,
        resume=resume,
        accumulation=accumulation,
        precision=precision,
        keep_pipe=preview_every > 0,
        resolution=resolution,
        masks=masks,
        templates=templates or subject.templates,
        prior_images=prior_images,
        on_image_error="skip" if skip_bad_pictures else "refuse",
        preview_every=preview_every,
        licence=licence,
        consent=consent,
        **chosen,
    )
    say(f"Learned. Write [bold]{escape(concept.phrase)}[/] in a prompt, or {{}} here:")
    say(f"  persona generate {output} --prompt 'a {{}} on the beach'")
    out.print(str(output), markup=False)
