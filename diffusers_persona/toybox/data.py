"""Pictures and captions of the world, rendered once for training."""

import json
import os
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from .vocabulary import COLOURS, SCENES
from .world import World

_CHUNK = 1000


def render_pictures(work: Path, name: str, count: int, *, seed: int, held_out: bool = False, workers: int = 2) -> Path:
    """Render `count` pictures of the training mix into `work/data/<name>.npy` [N, 64, 64, 3] and `<name>.json`."""
    return _render(work, name, count, _captioned, (seed, held_out), workers)


def render_extras(work: Path, name: str, count: int, *, seed: int, workers: int = 2) -> Path:
    """Render `count` pictures of icons that have no name and of faces that no caption uses, for the autoencoder."""
    return _render(work, name, count, _extras, (seed, False), workers)


def _render(work: Path, name: str, count: int, task, arguments: tuple[int, bool], workers: int) -> Path:
    path = work / "data" / f"{name}.npy"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = range(-(-count // _CHUNK))
    with ProcessPoolExecutor(workers) as pool:
        results = list(pool.map(task, [work / "art"] * len(chunks), chunks, [arguments] * len(chunks)))
    captions = [caption for _, chunk_captions in results for caption in chunk_captions][:count]
    path.with_suffix(".json").write_text(json.dumps(captions))
    temporary = path.with_suffix(".tmp.npy")
    np.save(temporary, np.concatenate([pictures for pictures, _ in results])[:count])
    os.replace(temporary, path)
    return path


def _captioned(art_dir: Path, chunk: int, arguments: tuple[int, bool]) -> tuple[np.ndarray, list[str]]:
    seed, held_out = arguments
    world, rng = World.open(art_dir), random.Random(f"{seed}-{held_out}-{chunk}")
    pictures = [world.sample(rng, held_out) for _ in range(_CHUNK)]
    return np.stack([np.asarray(p.image) for p in pictures]), [p.caption for p in pictures]


def _extras(art_dir: Path, chunk: int, arguments: tuple[int, bool]) -> tuple[np.ndarray, list[str]]:
    world, rng = World.open(art_dir), random.Random(f"extras-{arguments[0]}-{chunk}")
    art = world.art
    unnamed = [index for index, label in enumerate(art.face_labels) if not label["name"]]
    pictures = []
    for _ in range(_CHUNK):
        face = rng.random() < 0.3
        sprite = art.face(rng.choice(unnamed)) if face else art.icon(rng.choice(art.distractors))
        size = 62 if face else rng.choice((31, 46, 54))
        pictures.append(np.asarray(world.paste(sprite, rng.choice((*SCENES, *COLOURS)), rng, size).image))
    return np.stack(pictures), [""] * _CHUNK
