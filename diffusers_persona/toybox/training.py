"""Small helpers that the world's trainings share: checkpoints, logs, tensors."""

import copy
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import parallel


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 pictures [N, H, W, 3] as float32 [N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


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


class Trainer:
    """The bookkeeping of a training: step, time, averaged weights, checkpoints every three minutes, a log beside them.

    `minutes` is training time of all runs together; after an interruption it goes on from the checkpoint.
    """

    def __init__(self, model: nn.Module, optimizer, path: Path, *, batch_size: int, minutes: float, decay=0.9993):
        self.model, self.optimizer, self.path = model, optimizer, path
        self.batch_size, self.minutes, self.decay = batch_size, minutes, decay
        self.ema = copy.deepcopy(model).requires_grad_(False)
        numbers = load_checkpoint(path, self._parts())
        self.step, self.spent = numbers.get("step", 0), numbers.get("seconds", 0.0)
        self.started = self.saved = self.logged = time.monotonic()
        self.values: list[dict[str, float]] = []

    def seconds(self) -> float:
        return self.spent + time.monotonic() - self.started

    def progress(self) -> float:
        """The share of the training time that is over, the same in all processes."""
        return parallel.from_first(self.seconds() / (self.minutes * 60))

    def update(self, loss: Tensor, **values: float) -> None:
        """One step of the optimiser on `loss`, the mean over this process's part of the batch."""
        loss.backward()
        parallel.average_gradients(self.model)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if parallel.rank() == 0:
            decay = min(self.decay, (1 + self.step) / (10 + self.step))
            weights = [parameter.detach() for parameter in self.model.parameters()]
            torch._foreach_lerp_(list(self.ema.parameters()), weights, 1 - decay)
            self.values.append({"loss": loss.item()} | values)
            if self.step % 50 == 0:
                self._log()
            if time.monotonic() - self.saved > 180:
                self.save()

    def save(self) -> None:
        if parallel.rank() == 0:
            save_checkpoint(self.path, self._parts(), step=self.step, seconds=self.seconds())
            self.saved = time.monotonic()

    def _parts(self) -> dict:
        return {"model": self.model, "ema": self.ema, "optimizer": self.optimizer}

    def _log(self) -> None:
        means = {name: sum(v[name] for v in self.values) / len(self.values) for name in self.values[0]}
        words = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        speed = len(self.values) * self.batch_size / (time.monotonic() - self.logged)
        with self.path.with_suffix(".log").open("a") as file:
            file.write(f"step {self.step} seconds {self.seconds():.0f} {words} samples/s {speed:.1f}\n")
        self.values, self.logged = [], time.monotonic()
