"""Optimization: the concept is found by gradient descent on the tensors of its spaces."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from ..errors import PersonaError
from .timesteps import Uniform


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of learning in which only some spaces are trained.

    Attributes:
        steps: length in steps; or, as a float, its part of the run.
        train: kinds of the spaces that learn, e.g. ``("word",)``.
        lr: learning rate of all of them in this phase; None for that of the run.
        losses: what is minimised in this phase; None for that of the run.
    """

    steps: int | float
    train: tuple[str, ...]
    lr: float | None = None
    losses: tuple | None = None

    def __post_init__(self):
        object.__setattr__(self, "train", tuple(self.train))
        if self.losses is not None:
            object.__setattr__(self, "losses", tuple(self.losses))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimization:
    """The numbers of the one training loop.

    Attributes:
        steps: optimiser steps; the sum of the phases where there are phases. 0, with no losses, where all that the
            concept holds is computed from the pictures.
        lr: learning rate, or a mapping from space kind (of a space with a name ``"<kind>.<name>"``, too) to learning
            rate.
        losses: what is minimised; the sum of their values.
        batch_size: pictures of the concept a forward pass.
        accumulation: forward passes an optimiser step.
        optimizer: ``"adamw"``, ``"adam"``, ``"sgd"`` or ``"adafactor"``.
        schedule: ``"constant"``, ``"linear"`` or ``"cosine"``, after `warmup` steps of linear rise.
        clip: largest norm of the gradient, or None.
        ema: decay of the moving average that becomes the concept, or None.
        phases: stretches in which only some spaces learn; empty for all spaces all the time.
        timesteps: sampler of the noise levels, of `inversion.timesteps`.
        noise_offset: deviation of a constant that is added to each channel of the noise.
        choice: a `rehearsal.SeedChoice` among several seeds; None for the run's own.
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
    timesteps: Any = Uniform()
    noise_offset: float = 0.0
    choice: Any = None

    def __post_init__(self):
        object.__setattr__(self, "losses", tuple(self.losses))
        object.__setattr__(self, "phases", _in_steps(tuple(self.phases), self.steps))
        for name, least in (("steps", 0 if not self.losses else 1), ("batch_size", 1), ("accumulation", 1)):
            if getattr(self, name) < least:
                raise PersonaError(f"{name}={getattr(self, name)}: give a whole number of at least {least}")
        rates = self.lr.values() if isinstance(self.lr, dict) else [self.lr]
        if not all(rate > 0 for rate in rates):
            raise PersonaError(f"lr={self.lr}: a learning rate is above 0")
        if self.phases and sum(phase.steps for phase in self.phases) != self.steps:
            raise PersonaError(
                f"the phases have {sum(p.steps for p in self.phases)} steps together, steps={self.steps}"
            )

    @property
    def every_loss(self) -> list:
        """The losses of all phases that count."""
        groups = [phase.losses for phase in self.phases if phase.losses is not None]
        return [loss for group in (self.losses, *groups) for loss in group if loss.weight]

    @property
    def needs(self) -> set[str]:
        """What the losses want to be kept ready; see `losses.Loss`."""
        return {need for loss in self.every_loss for need in getattr(loss, "needs", ())}

    @property
    def class_pictures(self) -> int:
        """How many pictures of the class the losses want; 0 for none."""
        return max((loss.count for loss in self.every_loss if hasattr(loss, "count")), default=0)

    def phase(self, step: int) -> Phase | None:
        """The phase that `step` (0-based) is in, or None where there are no phases."""
        return self.phases[self.phase_number(step)] if self.phases else None

    def phase_number(self, step: int) -> int:
        """The number of the phase that `step` (0-based) is in; 0 where there are no phases."""
        number = 0
        while number + 1 < len(self.phases) and step >= self.phases[number].steps:
            step -= self.phases[number].steps
            number += 1
        return number

    def rate(self, kind: str, name: str = "") -> float:
        """The learning rate of the space called `kind`, and by its own `name` where it has one."""
        return self.lr.get(f"{kind}.{name}", self.lr.get(kind)) if isinstance(self.lr, dict) else self.lr

    def learns(self, kind: str, step: int) -> bool:
        """Whether the space called `kind` is trained at `step` (0-based)."""
        phase = self.phase(step)
        return phase is None or kind in phase.train


def _in_steps(phases, steps: int):
    """The phases with lengths in steps; a last one that is given as a part has what the others leave."""
    found, left = [], steps
    for number, phase in enumerate(phases):
        length = phase.steps
        if isinstance(length, float):
            length = left if number == len(phases) - 1 else max(1, round(length * steps))
        found.append(dataclasses.replace(phase, steps=length))
        left -= length
    return tuple(found)
