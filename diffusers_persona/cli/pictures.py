"""Prompts into pictures: the same seeds in every row, so that rows can be compared."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from diffusers_persona.errors import PersonaError
from diffusers_persona.files import png, write_whole

from .console import progress

BATCH = 16
_PLACE = re.compile(r"\{(\d*)\}")


def fill(template: str, phrases: Sequence[str], optional: Sequence[str] = ()) -> str:
    """Put the concepts' phrases into a prompt: ``{}`` in order, ``{0}`` and ``{1}`` by number, or their own words.

    Each concept must be named, but for the `optional` ones (a LoRA of somebody else acts without a word that we know).

    Raises:
        PersonaError: a place without a concept, or a concept that the prompt does not name.
    """
    order = itertools.count()
    places = [int(number) if number else next(order) for number in _PLACE.findall(template)]
    if any(place >= len(phrases) for place in places):
        raise PersonaError(f"the prompt {template!r} has a place for concept {max(places) + 1} of {len(phrases)}")
    remaining = iter(places)
    text = _PLACE.sub(lambda _: phrases[next(remaining)], template)
    for phrase in phrases:
        if phrase not in text and phrase not in optional:
            raise PersonaError(
                f"the prompt {template!r} does not name the concept {phrase!r}: write it, or a {{}} for it"
            )
    return text


def generate(
    pipe: Any,
    prompts: Sequence[str],
    *,
    count: int = 1,
    seed: int = 0,
    steps: int = 25,
    guidance: float | None = None,
    negative: str | None = None,
    label: str = "generating",
) -> list[list[Image.Image]]:
    """Make `count` pictures of each prompt; picture i of a prompt starts from noise `seed + i`, whatever the batch is.

    Args:
        pipe: a stock text-to-image pipeline, concepts attached or not.
        prompts: texts.
        count: pictures a prompt.
        seed: of the first picture.
        steps: sampler steps.
        guidance: guidance scale; the pipeline's default when None.
        negative: negative prompt.
        label: name of the progress bar.

    Returns:
        for each prompt the list of its pictures.
    """
    import torch

    jobs = [(row, seed + number) for row in range(len(prompts)) for number in range(count)]
    options: dict[str, Any] = {"num_inference_steps": steps}
    if guidance is not None:
        options["guidance_scale"] = guidance
    pictures: list[list[Image.Image]] = [[] for _ in prompts]
    with progress() as bar:
        task = bar.add_task(label, total=len(jobs))
        for start in range(0, len(jobs), BATCH):
            batch = jobs[start : start + BATCH]
            if negative is not None:
                options["negative_prompt"] = [negative] * len(batch)
            images = pipe(
                [prompts[row] for row, _ in batch],
                generator=[torch.Generator("cpu").manual_seed(number) for _, number in batch],
                **options,
            ).images
            for (row, _), image in zip(batch, images, strict=True):
                pictures[row].append(image)
            bar.advance(task, len(batch))
    return pictures


def slug(text: str) -> str:
    """A text as a short file name: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48] or "picture"


def save(picture: Image.Image, path: Path) -> Path:
    """Write a PNG so that no reader sees half of it."""
    write_whole(path, png(picture))
    return path
