"""Optimization: the concept is found by gradient descent on the tensors of its spaces."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of learning in which only some spaces are trained.

    Attributes:
        steps: length in steps.
        train: kinds of the spaces that learn, e.g. ``("word",)``.
    """

    steps: int
    train: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimization:
    """The numbers of the one training loop.

    Attributes:
        steps: optimiser steps; the sum of the phases where there are phases.
        lr: learning rate, or a mapping from space kind to learning rate.
        losses: what is minimised; the sum of their values.
        batch_size: pictures of the concept a forward pass.
        accumulation: forward passes an optimiser step.
        optimizer: ``"adamw"``, ``"adam"``, ``"sgd"`` or ``"adafactor"``.
        schedule: ``"constant"``, ``"linear"`` or ``"cosine"``, after `warmup` steps of linear rise.
        clip: largest norm of the gradient, or None.
        ema: decay of the moving average that becomes the concept, or None.
        phases: stretches in which only some spaces learn; empty for all spaces all the time.
    """

    kind: ClassVar[str] = "optimization"

    steps: int
    lr: float | dict[str, float]
    losses: tuple
    batch_size: int = 1
    accumulation: int = 1
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2
    schedule: str = "constant"
    warmup: int = 0
    clip: float | None = 1.0
    ema: float | None = None
    phases: tuple[Phase, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "losses", tuple(self.losses))
        object.__setattr__(self, "phases", tuple(self.phases))
        for name in ("steps", "batch_size", "accumulation"):
            if getattr(self, name) < 1:
                raise PersonaError(f"{name}={getattr(self, name)}: give a whole number of at least 1")
        rates = self.lr.values() if isinstance(self.lr, dict) else [self.lr]
        if not all(rate > 0 for rate in rates):
            raise PersonaError(f"lr={self.lr}: a learning rate is above 0")
        if self.phases and sum(phase.steps for phase in self.phases) != self.steps:
            raise PersonaError(
                f"the phases have {sum(p.steps for p in self.phases)} steps together, steps={self.steps}"
            )

    @property
    def class_pictures(self) -> int:
        """How many pictures of the class the losses want; 0 for none."""
        return next((loss.count for loss in self.losses if loss.weight and hasattr(loss, "count")), 0)

    def rate(self, kind: str) -> float:
        """The learning rate of the space called `kind`."""
        return self.lr[kind] if isinstance(self.lr, dict) else self.lr

    def learns(self, kind: str, step: int) -> bool:
        """Whether the space called `kind` is trained at `step` (0-based)."""
        for phase in self.phases:
            if step < phase.steps:
                return kind in phase.train
            step -= phase.steps
        return True
