"""The pictures of one cell of a benchmark: a recipe's, or those of the rows that are no recipes."""

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import diffusers_persona as dp
from diffusers_persona.errors import PersonaError

from .host import Host, parts
from .metrics import class_prompt
from .summary import REFERENCE_ROWS

CLASS_PICTURES_PROMPT = 999
"""The number of the class prompt in the seeds of the noise, far from those of real prompts."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How pictures are made: pictures a prompt, sampler steps, guidance scale, pictures a forward pass.

    `prompts` takes that many prompts a concept, evenly spread over the list of its kind; None takes all.
    `class_pictures` pictures of the class are made with the concept attached, for PRES; 0 leaves it out.
    """

    images_per_prompt: int = 2
    steps: int = 25
    guidance: float = 4.0
    batch: int = 32
    prompts: int | None = None
    class_pictures: int = 0

    def facts(self) -> dict[str, Any]:
        """What scores depend on; what came later than stored rows stands in it only where it is used."""
        left_out = {"batch"} if self.class_pictures else {"batch", "class_pictures"}
        return {name: value for name, value in asdict(self).items() if name not in left_out}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (recipe, concept, seed); `recipe` may also be one of `REFERENCE_ROWS`. `numbers` override the recipe's."""

    recipe: str
    concept: str
    seed: int
    numbers: Mapping[str, Any]


def prompts_of(host: Host, concept: Any, settings: Settings) -> list[Any]:
    """The prompts that the settings take of a concept's."""
    prompts = list(host.prompts(concept))
    count = min(settings.prompts or len(prompts), len(prompts))
    return [prompts[i * len(prompts) // count] for i in range(count)]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a cell made: pictures a prompt, pictures of the class, and what they cost."""

    images: list[list[Image.Image]]
    class_images: list[Image.Image] = field(default_factory=list)
    seconds: float = 0.0
    numbers: dict[str, Any] = field(default_factory=dict)
    learn_seconds: float = 0.0
    artifact_bytes: int = 0


def make(cell: Cell, host: Host, settings: Settings, references: list[list[Image.Image]]) -> Made:
    """Learns what the cell learns, and makes its pictures; `references` are those of each part of its concept."""
    concept = host.concept(cell.concept)
    if cell.recipe in REFERENCE_ROWS and cell.recipe != "base":
        return Made(images=_real_pictures(cell, host, settings, references))
    learned = []
    if cell.recipe != "base":
        learned = [_learn(cell, part, number, host) for number, part in enumerate(parts(concept))]
    with contextlib.ExitStack() as stack:
        for each, _, _ in learned:
            stack.enter_context(each.attach(host.pipe))
        start = time.perf_counter()
        texts = _texts(host, concept, settings, [each.phrase for each, _, _ in learned])
        images = generate(texts, cell.seed, host, settings)
        class_images = _class_images(concept, cell.seed, host, settings)
        return Made(
            images=images,
            class_images=class_images,
            seconds=time.perf_counter() - start,
            numbers=learned[0][0].header["numbers"] if learned else {},
            learn_seconds=round(sum(seconds for _, seconds, _ in learned), 2),
            artifact_bytes=sum(size for _, _, size in learned),
        )


def _texts(host: Host, concept: Any, settings: Settings, phrases: Sequence[str]) -> list[str]:
    """The prompts with the learned phrases in their places, or, without any, with the class nouns."""
    prompts = prompts_of(host, concept, settings)
    if not phrases:
        return [host.expect(concept, prompt).text for prompt in prompts]
    return [prompt.template.format(*phrases) for prompt in prompts]


def _learn(cell: Cell, concept: Any, number: int, host: Host) -> tuple[Any, float, int]:
    start = time.perf_counter()
    learned = dp.learn(
        host.pipe,
        list(concept.references),
        cell.recipe,
        token=_token(cell, concept, number),
        noun=concept.noun,
        kind=concept.kind,
        seed=cell.seed,
        templates=host.templates(concept),
        prior_images=class_pictures_of(cell, concept, host),
        progress=False,
        **cell.numbers,
    )
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        learned.save_pretrained(folder)
        size = sum(path.stat().st_size for path in Path(folder).glob("concept.safetensors"))
    return learned, seconds, size


def _token(cell: Cell, concept: Any, number: int) -> str | None:
    """A second concept's word must differ from the first's, also where their nouns are the same."""
    from diffusers_persona import recipes

    new_word = any(space.adds_token for space in recipes.get(cell.recipe).build(**cell.numbers).space)
    return f"<{concept.noun.replace(' ', '-')}-{number + 1}>" if new_word and number else None


def class_pictures_of(cell: Cell, concept: Any, host: Host) -> Path | None:
    """The folder of real class pictures for a recipe whose paper has such a prior set, where the host has one."""
    if cell.recipe in REFERENCE_ROWS:
        return None
    from diffusers_persona import recipes

    losses = recipes.get(cell.recipe).build(**cell.numbers).method.losses
    return (
        host.class_pictures(concept) if any(getattr(loss, "real", False) and loss.weight for loss in losses) else None
    )


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


def _class_images(concept: Any, seed: int, host: Host, settings: Settings) -> list[Image.Image]:
    """Pictures of the class, whatever is attached: without prior preservation they turn into the concept."""
    if not settings.class_pictures:
        return []
    texts = [class_prompt("a {}", parts(concept)[0].noun)]
    jobs = [(0, CLASS_PICTURES_PROMPT, k) for k in range(settings.class_pictures)]
    return _run(texts, jobs, seed, host, settings)[0]


def generate(texts: Sequence[str], seed: int, host: Host, settings: Settings) -> list[list[Image.Image]]:
    """Pictures of each text, from noise that depends on seed, number of the text and sample alone."""
    jobs = [(i, i, k) for i in range(len(texts)) for k in range(settings.images_per_prompt)]
    return _run(texts, jobs, seed, host, settings)


def _run(
    texts: Sequence[str], jobs: Sequence[tuple[int, int, int]], seed: int, host: Host, settings: Settings
) -> list[list[Image.Image]]:
    """Pictures a text, from jobs (number of the text, number of the prompt in the seed, number of the sample)."""
    pictures: list[list[Image.Image]] = [[] for _ in texts]
    host.pipe.set_progress_bar_config(disable=True)
    for start in range(0, len(jobs), settings.batch):
        batch = jobs[start : start + settings.batch]
        images = host.pipe(
            [texts[i] for i, _, _ in batch],
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
