"""Small helpers that the world's trainings share: checkpoints, logs, tensors."""

import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 pictures [N, H, W, 3] as float32 [N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def save_checkpoint(path: Path, parts: dict, **numbers) -> None:
    """Write the state dicts of `parts` and `numbers` atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save({name: part.state_dict() for name, part in parts.items()} | {"numbers": numbers}, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path, parts: dict) -> dict:
    """Load `parts` from `path` and return its numbers; an empty dict when there is no checkpoint."""
    if not path.is_file():
        return {}
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["numbers"]


class Log:
    """Appends the mean of numbers and the samples per second to a file, every `every` steps."""

    def __init__(self, path: Path, batch_size: int, every: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.batch_size, self.every = path, batch_size, every
        self.values: list[dict[str, float]] = []
        self.since = time.monotonic()

    def __call__(self, step: int, seconds: float, **values: float) -> None:
        self.values.append(values)
        if step % self.every:
            return
        means = " ".join(f"{name} {sum(v[name] for v in self.values) / len(self.values):.4f}" for name in values)
        speed = len(self.values) * self.batch_size / (time.monotonic() - self.since)
        line = f"step {step} seconds {seconds:.0f} {means} samples/s {speed:.1f}"
        with self.path.open("a") as file:
            file.write(line + "\n")
        self.values, self.since = [], time.monotonic()
