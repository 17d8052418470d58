"""The pictures of one cell of a benchmark: a recipe's, or those of the rows that are no recipes."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from diffusers_persona.errors import PersonaError

from .host import Host, things
from .lessons import Cell, Learned, learn
from .metrics import class_prompt
from .summary import REFERENCE_ROWS

CLASS_PICTURES_PROMPT = 999
"""The number of the class prompt in the seeds of the noise, far from those of real prompts."""
BARE_PICTURES_PROMPT = 998
"""The same for the prompt that says nothing but the concept's phrase."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How pictures are made: pictures a prompt, sampler steps, guidance scale, pictures a forward pass.

    `prompts` takes that many prompts a concept, evenly spread over the list of its kind; None takes all.
    `class_pictures` pictures of the class are made with the concept attached, for PRES; 0 leaves it out.
    `bare_pictures` pictures of the phrase alone are made, for the share that shows a reference's background.
    """

    images_per_prompt: int = 2
    steps: int = 25
    guidance: float = 4.0
    batch: int = 32
    prompts: int | None = None
    class_pictures: int = 0
    bare_pictures: int = 0

    def facts(self) -> dict[str, Any]:
        """What scores depend on; what came later than stored rows stands in it only where it is used."""
        later = ("class_pictures", "bare_pictures")
        left_out = {"batch", *(name for name in later if not getattr(self, name))}
        return {name: value for name, value in asdict(self).items() if name not in left_out}


def prompts_of(host: Host, concept: Any, settings: Settings) -> list[Any]:
    """The prompts that the settings take of a concept's."""
    prompts = list(host.prompts(concept))
    count = min(settings.prompts or len(prompts), len(prompts))
    return [prompts[i * len(prompts) // count] for i in range(count)]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a cell made: pictures a prompt, of the class and of the bare phrase, and what they cost."""

    images: list[list[Image.Image]]
    class_images: list[Image.Image] = field(default_factory=list)
    bare_images: list[Image.Image] = field(default_factory=list)
    seconds: float = 0.0
    learned: Learned = field(default_factory=Learned)


def make(cell: Cell, host: Host, settings: Settings, references: list[list[Image.Image]]) -> Made:
    """Learns what the cell learns, and makes its pictures; `references` are those of each part of its concept."""
    concept = host.concept(cell.concept)
    if cell.recipe in REFERENCE_ROWS and cell.recipe != "base":
        return Made(images=_real_pictures(cell, host, settings, references))
    learned = Learned() if cell.recipe == "base" else learn(cell, concept, host)
    with contextlib.ExitStack() as stack:
        for each in learned.concepts:
            stack.enter_context(each.attach(host.pipe))
        start = time.perf_counter()
        texts, jobs = _jobs(host, concept, settings, learned.phrases)
        pictures = _run(texts, jobs, cell.seed, host, settings, learned.negative)
        more = [pictures.pop() for wanted in (settings.bare_pictures, settings.class_pictures) if wanted]
        return Made(
            images=pictures,
            class_images=more.pop() if settings.class_pictures else [],
            bare_images=more.pop() if settings.bare_pictures else [],
            seconds=time.perf_counter() - start,
            learned=learned,
        )


def _jobs(host: Host, concept: Any, settings: Settings, phrases: Sequence[str]) -> tuple[list[str], list[tuple]]:
    """The texts to draw, and a job (text, number of the prompt in the seed, number of the sample) a picture.

    After the prompts come the class word, whatever is attached (without prior preservation it turns into the concept),
    and the bare phrase.
    """
    nouns = [thing.noun for thing in things(concept)]
    texts = _texts(host, concept, settings, phrases)
    jobs = [(i, i, k) for i in range(len(texts)) for k in range(settings.images_per_prompt)]
    bare = "a thing {} a thing" if concept.kind == "relation" else "a {}"
    further = (
        (class_prompt(bare, nouns[0]), CLASS_PICTURES_PROMPT, settings.class_pictures),
        (
            bare.format(phrases[0]) if phrases else class_prompt(bare, nouns[0]),
            BARE_PICTURES_PROMPT,
            settings.bare_pictures,
        ),
    )
    for text, number, count in further:
        if count:
            jobs += [(len(texts), number, k) for k in range(count)]
            texts = [*texts, text]
    return texts, jobs


def _texts(host: Host, concept: Any, settings: Settings, phrases: Sequence[str]) -> list[str]:
    """The prompts with the learned phrases in their places, or, without any, with the class nouns."""
    prompts = prompts_of(host, concept, settings)
    if not phrases:
        return [host.expect(concept, prompt).text for prompt in prompts]
    return [prompt.template.format(*phrases) for prompt in prompts]


def _real_pictures(
    cell: Cell, host: Host, settings: Settings, references: list[list[Image.Image]]
) -> list[list[Image.Image]]:
    concept = host.concept(cell.concept)
    prompts = prompts_of(host, concept, settings)
    if cell.recipe == "real-images":
        return []
    if cell.recipe == "copy-paste":
        return [[references[0][(index + cell.seed) % len(references[0])]] for index in range(len(prompts))]
    every = list(host.prompts(concept))
    folder = Path(concept.folder) / "oracle"
    return [[open_picture(folder / f"{every.index(prompt):02d}.png")] for prompt in prompts]


def generate(texts: Sequence[str], seed: int, host: Host, settings: Settings) -> list[list[Image.Image]]:
    """Pictures of each text, from noise that depends on seed, number of the text and sample alone."""
    jobs = [(i, i, k) for i in range(len(texts)) for k in range(settings.images_per_prompt)]
    return _run(texts, jobs, seed, host, settings)


def _run(
    texts: Sequence[str],
    jobs: Sequence[tuple[int, int, int]],
    seed: int,
    host: Host,
    settings: Settings,
    negative: str = "",
) -> list[list[Image.Image]]:
    """Pictures a text, from jobs (number of the text, number of the prompt in the seed, number of the sample)."""
    pictures: list[list[Image.Image]] = [[] for _ in texts]
    host.pipe.set_progress_bar_config(disable=True)
    for start in range(0, len(jobs), settings.batch):
        batch = jobs[start : start + settings.batch]
        images = host.pipe(
            [texts[i] for i, _, _ in batch],
            negative_prompt=[negative] * len(batch) if negative else None,
            generator=[torch.Generator().manual_seed(1_000_000 * seed + 1000 * p + k) for _, p, k in batch],
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
        ).images
        for (i, _, _), image in zip(batch, images, strict=True):
            pictures[i].append(image)
    return pictures


def open_picture(path: str | Path) -> Image.Image:
    """A picture file, as RGB."""
    path = Path(path)
    if not path.exists():
        raise PersonaError(f"{path} is missing: the benchmark needs one picture a prompt; build the concepts again.")
    with Image.open(path) as image:
        return image.convert("RGB")
