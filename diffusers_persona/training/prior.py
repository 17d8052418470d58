"""Class pictures for prior preservation: made once by the frozen model and kept, or read from a folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..files import png, write_whole
from ..inversion.images import Example, ImageSet


def cache_folder() -> Path:
    """Where generated class pictures are kept: ``$PERSONA_CACHE``, else ``~/.cache/diffusers_persona``."""
    return Path(os.environ.get("PERSONA_CACHE") or Path.home() / ".cache" / "diffusers_persona")


def generated(
    pipe, host, prompt: str, count: int, *, seed: int, resolution: int, report, at_once: int = 8
) -> list[Path]:
    """Files of `count` pictures of `prompt` by the frozen `pipe`, each written as soon as it is made.

    Args:
        report: called with (pictures done, count) after each batch.
    """
    place = f"{host.fingerprint()}|{type(pipe.scheduler).__name__}|{prompt}|{seed}|{resolution}"
    folder = cache_folder() / "prior" / hashlib.sha256(place.encode()).hexdigest()[:20]
    paths = [folder / f"{n:05d}.png" for n in range(count)]
    missing = [n for n, path in enumerate(paths) if not path.exists()]
    for start in range(0, len(missing), at_once):
        part = missing[start : start + at_once]
        pictures = drawn(pipe, [prompt] * len(part), [seed * 100_003 + n for n in part], resolution)
        for n, picture in zip(part, pictures):
            write_whole(paths[n], png(picture))
        report(count - len(missing) + start + len(part), count)
    return paths


def drawn(pipe, prompts: list[str], seeds: list[int], resolution: int, *, steps=25, at_once=8, **options) -> list:
    """Pictures (PIL) of `prompts` by `pipe`, each from noise of its own seed; without a progress bar."""
    import torch

    quiet = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**{**quiet, "disable": True})
    options = dict(num_inference_steps=steps, height=resolution, width=resolution) | options
    pictures = []
    try:
        for start in range(0, len(prompts), at_once):
            part = slice(start, start + at_once)
            generators = [torch.Generator().manual_seed(seed) for seed in seeds[part]]
            pictures += pipe(prompts[part], generator=generators, **options).images
    finally:
        pipe.set_progress_bar_config(**{"disable": False, **quiet})
    return pictures


def read(paths: list[Path], prompt: str) -> ImageSet:
    """The pictures of `paths`, each with `prompt` as its caption."""
    from PIL import Image

    examples = []
    for path in paths:
        with Image.open(path) as picture:
            examples.append(Example(image=picture.convert("RGB"), mask=None, caption=prompt, source=str(path)))
    return ImageSet(examples=tuple(examples))
