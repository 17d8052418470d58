"""The one loop that fits every instrument: seeded by step, resumable, with Muon, warm-up and a cosine to zero."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from ..optim import Muon
from ..training import load_checkpoint, save_checkpoint

CHECKPOINT_SECONDS, LOG_STEPS = 90, 50


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how fast an instrument learns: `samples` pictures seen in batches of `batch`."""

    samples: int
    batch: int = 128
    lr: float = 1e-3
    muon_scale: float = 8.0
    weight_decay: float = 0.02
    warmup: int = 60
    seed: int = 0

    @property
    def steps(self) -> int:
        return self.samples // self.batch

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        return self.lr * min(1.0, (step + 1) / self.warmup) * (0.5 + 0.5 * math.cos(math.pi * step / self.steps))


Loss = Callable[[Tensor, Generator], Tensor]
"""(indices of the batch, random numbers of the step) -> scalar loss."""


def fit(parts: nn.ModuleDict, loss: Loss, plan: Plan, *, count: int, folder: Path) -> None:
    """Fit `parts` in place to `loss` over indices below `count`; resumes `folder/checkpoint.pt`."""
    parts.train()
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = Muon(parts, plan.lr, scale=plan.muon_scale, weight_decay=plan.weight_decay)
    checkpoint = folder / "checkpoint.pt"
    numbers = load_checkpoint(checkpoint, {"parts": parts, "optimizer": optimizer})
    first, spent = numbers.get("step", 0), numbers.get("seconds", 0.0)
    losses, begun, saved = [], time.monotonic(), time.monotonic()
    for step in range(first, plan.steps):
        generator = Generator().manual_seed(plan.seed * 1_000_003 + step)
        optimizer.set_lr(plan.rate(step))
        indices = torch.randint(0, count, (plan.batch,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(indices, generator)
        if not torch.isfinite(value):
            raise FloatingPointError(f"{folder.name}: the loss is {value.item()} at step {step}")
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parts.parameters(), 5.0)
        optimizer.step()
        seconds = spent + time.monotonic() - begun
        losses.append(value.item())
        if len(losses) == LOG_STEPS:
            with (folder / "log.txt").open("a") as log:
                log.write(f"step {step + 1} seconds {seconds:.0f} loss {sum(losses) / LOG_STEPS:.4f}\n")
            losses = []
        if time.monotonic() - saved > CHECKPOINT_SECONDS or step + 1 == plan.steps:
            saved = time.monotonic()
            save_checkpoint(checkpoint, {"parts": parts, "optimizer": optimizer}, step=step + 1, seconds=seconds)
    parts.eval()
