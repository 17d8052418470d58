"""One cell of ToyBench: learn a concept with a recipe, generate every prompt, score the pictures.

Three rows that are no recipes frame the others: `base` (the class noun in place of the concept, the floor of
fidelity), `oracle` (real renderings of the concept in every prompt, the ceiling) and `copy-paste` (a reference picture
whatever the prompt says: full fidelity, no obedience).
"""

import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import diffusers_persona as dp
from diffusers_persona.errors import PersonaError

from .host import Host
from .metrics import Expectation, Scorer
from .rows import SCHEMA, file_digest, row_key
from .summary import REFERENCE_ROWS


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How pictures are made: pictures a prompt, sampler steps, guidance scale, pictures a forward pass.

    `prompts` takes that many prompts a concept, evenly spread over the list of its kind; None takes all.
    """

    images_per_prompt: int = 2
    steps: int = 25
    guidance: float = 4.0
    batch: int = 32
    prompts: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (recipe, concept, seed); `recipe` may also be one of `REFERENCE_ROWS`. `numbers` override the recipe's."""

    recipe: str
    concept: str
    seed: int
    numbers: Mapping[str, Any]


def cell_key(cell: Cell, host: Host, settings: Settings) -> str:
    """The key of a cell's row: it changes with the models, the pictures, the prompts, the numbers and the settings."""
    concept = host.concept(cell.concept)
    pictures = [Path(path) for path in concept.references]
    if cell.recipe == "oracle":
        pictures += sorted((Path(concept.folder) / "oracle").glob("*.png"))
    if folder := _class_pictures(cell, concept, host):
        pictures += [path for path in Path(folder).rglob("*") if path.is_file()]
    return row_key(
        {
            "schema": SCHEMA,
            "cell": [cell.recipe, cell.concept, cell.seed],
            "numbers": _numbers(cell),
            "settings": {name: value for name, value in asdict(settings).items() if name != "batch"},
            "prompts": [
                [prompt.template, asdict(host.expect(concept, prompt))]
                for prompt in _prompts(host, concept.kind, settings)
            ],
            "templates": host.templates(concept),
            "pictures": file_digest(pictures),
            "masking": host.masking,
            "models": [host.base_fingerprint, host.instruments_fingerprint],
        }
    )


def compute(cell: Cell, host: Host, settings: Settings) -> dict[str, Any]:
    """The finished row of a cell.

    Noise depends on seed, prompt and sample alone, so every recipe (and the base) starts from the same noise.
    """
    concept = host.concept(cell.concept)
    prompts = _prompts(host, concept.kind, settings)
    references = [_open(path) for path in concept.references]
    if cell.recipe in REFERENCE_ROWS:
        numbers, costs = {}, {"learn_seconds": 0.0, "artifact_bytes": 0}
        start = time.perf_counter()
        images = _reference_pictures(cell, host, settings, references)
    else:
        learned, costs = _learn(cell, concept, host)
        numbers = learned.header["numbers"]
        start = time.perf_counter()
        with learned.attach(host.pipe):
            images = _generate(
                [prompt.template.format(learned.phrase) for prompt in prompts], cell.seed, host, settings
            )
    generated = time.perf_counter()
    scorer = Scorer(host.instruments, references, kind=concept.kind, label=_label(concept, host))
    scores = _score(scorer, images, [host.expect(concept, prompt) for prompt in prompts])
    return {
        "key": cell_key(cell, host, settings),
        "schema": SCHEMA,
        "recipe": cell.recipe,
        "concept": concept.name,
        "kind": concept.kind,
        "noun": concept.noun,
        "seed": cell.seed,
        "numbers": numbers,
        "overrides": dict(cell.numbers),
        "templates": host.templates(concept),
        "settings": asdict(settings),
        **costs,
        "generate_seconds": round(generated - start, 2),
        "score_seconds": round(time.perf_counter() - generated, 2),
        "base_fingerprint": host.base_fingerprint,
        "instruments_fingerprint": host.instruments_fingerprint,
        "masking": host.masking,
        "machine": machine(),
        "versions": versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "prompts": [prompt.template for prompt in prompts],
        "scores": scores,
    }


def machine() -> dict[str, Any]:
    """The processor and the threads that the times of a row belong to."""
    names = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "system": platform.system()}


def versions() -> dict[str, str]:
    """Versions of what computes a row."""
    names = ("torch", "diffusers", "transformers", "peft")
    return {"diffusers_persona": dp.__version__, "python": platform.python_version()} | {
        name: version(name) for name in names
    }


def _numbers(cell: Cell) -> dict[str, Any]:
    if cell.recipe in REFERENCE_ROWS:
        return {}
    from diffusers_persona import recipes

    return recipes.get(cell.recipe).resolve(dict(cell.numbers), miniature=True)


def _prompts(host: Host, kind: str, settings: Settings) -> list[Any]:
    prompts = list(host.prompts(kind))
    count = min(settings.prompts or len(prompts), len(prompts))
    return [prompts[i * len(prompts) // count] for i in range(count)]


def _learn(cell: Cell, concept: Any, host: Host) -> tuple[Any, dict[str, Any]]:
    start = time.perf_counter()
    learned = dp.learn(
        host.pipe,
        list(concept.references),
        cell.recipe,
        noun=concept.noun,
        kind=concept.kind,
        seed=cell.seed,
        templates=host.templates(concept),
        prior_images=_class_pictures(cell, concept, host),
        progress=False,
        **cell.numbers,
    )
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        learned.save_pretrained(folder)
        size = sum(path.stat().st_size for path in Path(folder).glob("concept.safetensors"))
    return learned, {"learn_seconds": round(seconds, 2), "artifact_bytes": size}


def _class_pictures(cell: Cell, concept: Any, host: Host) -> Path | None:
    """The folder of real class pictures for a recipe whose paper has such a prior set, where the host has one."""
    if cell.recipe in REFERENCE_ROWS:
        return None
    from diffusers_persona import recipes

    losses = recipes.get(cell.recipe).build(**cell.numbers).method.losses
    return (
        host.class_pictures(concept) if any(getattr(loss, "real", False) and loss.weight for loss in losses) else None
    )


def _reference_pictures(cell: Cell, host: Host, settings: Settings, references: list) -> list[list[Image.Image]]:
    concept = host.concept(cell.concept)
    prompts = _prompts(host, concept.kind, settings)
    if cell.recipe == "base":
        texts = [host.expect(concept, prompt).text for prompt in prompts]
        return _generate(texts, cell.seed, host, settings)
    if cell.recipe == "copy-paste":
        return [[references[(index + cell.seed) % len(references)]] for index in range(len(prompts))]
    every = list(host.prompts(concept.kind))
    folder = Path(concept.folder) / "oracle"
    return [[_open(folder / f"{every.index(prompt):02d}.png")] for prompt in prompts]


def _generate(texts: Sequence[str], seed: int, host: Host, settings: Settings) -> list[list[Image.Image]]:
    jobs = [(i, k) for i in range(len(texts)) for k in range(settings.images_per_prompt)]
    pictures: list[list[Image.Image]] = [[] for _ in texts]
    host.pipe.set_progress_bar_config(disable=True)
    for start in range(0, len(jobs), settings.batch):
        batch = jobs[start : start + settings.batch]
        images = host.pipe(
            [texts[i] for i, _ in batch],
            generator=[torch.Generator().manual_seed(1_000_000 * seed + 1000 * i + k) for i, k in batch],
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
        ).images
        for (i, _), image in zip(batch, images, strict=True):
            pictures[i].append(image)
    return pictures


def _score(
    scorer: Scorer, images: list[list[Image.Image]], expectations: Sequence[Expectation]
) -> list[dict[str, Any]]:
    jobs = [(i, k, picture) for i, row in enumerate(images) for k, picture in enumerate(row)]
    scores = scorer.score([picture for _, _, picture in jobs], [expectations[i] for i, _, _ in jobs])
    return [
        {"prompt": i, "image": k} | {name: round(value, 5) for name, value in row.items()}
        for (i, k, _), row in zip(jobs, scores, strict=True)
    ]


def _label(concept: Any, host: Host) -> tuple[str, str] | None:
    """The label by which the instruments' classifier knows the concept, or None where it does not."""
    attribute = {"person": "person", "style": "style"}.get(concept.kind, "noun")
    names, _ = host.instruments.attributes([_open(concept.references[0])])[attribute]
    return (attribute, concept.true_name) if concept.true_name in names else None


def _open(path: str | Path) -> Image.Image:
    path = Path(path)
    if not path.exists():
        raise PersonaError(f"{path} is missing: the benchmark needs one picture a prompt; build the concepts again.")
    with Image.open(path) as image:
        return image.convert("RGB")


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
