"""One cell of a benchmark: learn a concept with a recipe, generate every prompt, score the pictures.

Rows that are no recipes frame the others: `base` (the class noun in place of the concept, the floor of fidelity),
`oracle` (real pictures of the concept in every prompt, the ceiling), `copy-paste` (a reference picture whatever the
prompt says: full fidelity, no obedience) and `real-images` (the references against each other, which shows what the
instruments give for real pictures of one thing).
"""

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import diffusers_persona as dp
from diffusers_persona.files import png

from .host import Host, parts, things
from .lessons import Cell, class_pictures_of, files_of
from .making import Made, Settings, make, open_picture, prompts_of
from .rows import SCHEMA, file_digest, row_key
from .scorer import Scorer
from .sets import diversity
from .summary import REFERENCE_ROWS


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The row of a cell and its pictures as PNG files by name, `<prompt>_<number>.png`."""

    row: dict[str, Any]
    pictures: Mapping[str, bytes]


def cell_key(cell: Cell, host: Host, settings: Settings) -> str:
    """The key of a cell's row: it changes with the models, the pictures, the prompts, the numbers and the settings."""
    concept = host.concept(cell.concept)
    prompts = prompts_of(host, concept, settings)
    pictures = list(files_of(concept))
    if cell.recipe == "oracle":
        pictures += sorted((Path(concept.folder) / "oracle").glob("*.png"))
    for part in parts(concept):
        if folder := class_pictures_of(cell, part, host):
            pictures += [path for path in Path(folder).rglob("*") if path.is_file()]
    return row_key(
        {
            "schema": SCHEMA,
            "cell": [cell.recipe, cell.concept, cell.seed],
            "numbers": _numbers(cell, host),
            "settings": settings.facts(),
            "prompts": [[prompt.template, host.expect(concept, prompt).facts()] for prompt in prompts],
            "templates": host.templates(concept),
            "pictures": file_digest(pictures),
            "masking": host.masking,
            "models": [
                host.base_fingerprint,
                host.instruments_fingerprint,
                *filter(None, [host.reward_name, host.scoring]),
            ],
        }
    )


def compute(cell: Cell, host: Host, settings: Settings) -> Finished:
    """The finished row of a cell, with its pictures.

    Noise depends on seed, prompt and sample alone, so every recipe (and the base) starts from the same noise.
    """
    concept = host.concept(cell.concept)
    prompts = prompts_of(host, concept, settings)
    references = [[open_picture(path) for path in part.references] for part in parts(concept)]
    shown = [[open_picture(path) for path in thing.references] for thing in things(concept)]
    scorer = host.scorer(concept, shown)
    made = make(cell, host, settings, references)
    start = time.perf_counter()
    if cell.recipe == "real-images":
        scores = [{"prompt": None, "image": i} | row for i, row in enumerate(scorer.calibration())]
    else:
        expectations = [host.expect(concept, prompt) for prompt in prompts]
        scores = scorer.score_prompts(made.images, expectations, paired=host.paired)
    row = {
        "key": cell_key(cell, host, settings),
        "schema": SCHEMA,
        "protocol": host.protocol,
        "recipe": cell.recipe,
        "concept": concept.name,
        "kind": concept.kind,
        "noun": concept.noun,
        "seed": cell.seed,
        "numbers": made.learned.numbers,
        "overrides": dict(cell.numbers),
        "templates": host.templates(concept),
        "settings": asdict(settings),
        "learn_seconds": made.learned.seconds,
        "learn_cpu_seconds": made.learned.cpu_seconds,
        "artifact_bytes": made.learned.artifact_bytes,
        "generate_seconds": round(made.seconds, 2),
        "score_seconds": round(time.perf_counter() - start, 2),
        "base_fingerprint": host.base_fingerprint,
        "instruments_fingerprint": host.instruments_fingerprint,
        "instruments": _instruments(host),
        "masking": host.masking,
        "machine": machine(),
        "versions": versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "prompts": [prompt.template for prompt in prompts],
        "sets": _rounded(_set_scores(scorer, made, concept)),
        "scores": [_rounded(score) for score in scores],
    }
    names = {f"{i:02d}_{k}.png": picture for i, group in enumerate(made.images) for k, picture in enumerate(group)}
    return Finished(row=row, pictures={name: png(picture) for name, picture in names.items()})


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


def _numbers(cell: Cell, host: Host) -> dict[str, Any]:
    if cell.recipe in REFERENCE_ROWS:
        return {}
    from diffusers_persona import backbones, recipes

    return recipes.get(cell.recipe).resolve(dict(cell.numbers), miniature=backbones.of(host.pipe).miniature)


def _set_scores(scorer: Scorer, made: Made, concept: Any) -> dict[str, float | None]:
    """DIV of the prompts' pictures; PRES and DIV of those of the class; what the bare phrase brings of backgrounds."""
    scores = {"div": diversity(scorer.instruments, made.images)}
    if made.class_images:
        scores["pres"] = scorer.preservation(made.class_images)
        scores["class_div"] = diversity(scorer.instruments, [made.class_images])
    if made.bare_images and (known := getattr(concept, "training_backgrounds", ())):
        scores["leak"] = scorer.background_share(made.bare_images, known)
    return scores


def _rounded(scores: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in scores.items() if value is not None or name == "prompt"}
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in known.items()}


def _instruments(host: Host) -> dict[str, Any]:
    reward = {"reward": host.reward_name} if host.reward else {}
    return {"models": dict(host.instruments.models), "preprocessing": dict(host.instruments.preprocessing)} | reward


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
