"""The one training loop of every recipe that optimises."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..backbones import Backbone
from ..errors import PersonaError
from ..inversion.optimization import Optimization
from ..losses.denoising import Step
from . import checkpoint, optimisers
from .examples import Batch, Examples, TextConditions
from .precision import PRECISIONS
from .processes import Processes
from .randomness import generator


@dataclasses.dataclass(kw_only=True)
class Student:
    """One concept of a run: what it trains, and on which examples.

    Attributes:
        token: its word.
        learners: (number, kind) of a space -> its `Learner`.
        examples: where its batches come from.
        seed: of all that is drawn for it.
    """

    token: str
    learners: dict
    examples: Examples
    seed: int

    def parameters(self) -> dict:
        """Name in the concept file -> trainable parameter."""
        return {
            f"{i}.{kind}.{name}": p
            for (i, kind), learner in self.learners.items()
            for name, p in learner.parameters.items()
        }

    def tensors(self) -> dict:
        """Name in the concept file -> tensor now: the parameters and the spaces' constants."""
        return {
            f"{i}.{kind}.{name}": tensor
            for (i, kind), learner in self.learners.items()
            for name, tensor in learner.tensors().items()
        }


@dataclasses.dataclass(kw_only=True)
class Noised:
    """One student's rows of a forward pass; shapes as in `losses.denoising.Step`, timesteps [B]."""

    batch: Batch
    noisy: Tensor
    timesteps: Tensor
    target: Tensor


@dataclasses.dataclass(kw_only=True)
class Loop:
    """One run: a host clone, and the students that learn in it side by side.

    Students share each forward pass and nothing else: examples, noise, gradients and clipping are each one's own, so
    that a concept does not depend on its company.

    Attributes:
        host: private clone that is trained.
        method: the `inversion.Optimization` with the run's numbers.
        students: the concepts.
        text: where text conditions come from.
        processes: this process and the others; each takes its share of an optimiser step's forward passes.
        folder: where checkpoints go, or None for none.
        on_step: called after each step with (steps done, mean loss).
    """

    host: Backbone
    method: Optimization
    students: list[Student]
    text: TextConditions
    processes: Processes
    precision: str = "fp32"
    folder: Path | None = None
    checkpoint_every: int = 100
    on_step: Callable[[int, float], None] = lambda done, loss: None

    def __post_init__(self):
        self.device = self.host.device  # asking a diffusers model walks through all its modules: not at each step
        self.losses = [loss for loss in self.method.losses if loss.weight]
        self.schedule = self.host.noise_schedule()
        self.learners = {((n, i), k): v for n, s in enumerate(self.students) for (i, k), v in s.learners.items()}
        self.parameters = {f"{n}/{k}": p for n, s in enumerate(self.students) for k, p in s.parameters().items()}
        self.optimizer = optimisers.make(self.method, self.learners)
        self.average = None
        if self.method.ema is not None:
            self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.record = {"losses": [[] for _ in self.students], "seconds": 0.0}
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def run(self, resume: bool = False):
        """Learns to the end; `tensors` then gives what was learned.

        Raises:
            PersonaError: when a loss is no longer a number; the last checkpoint is kept.
        """
        done = 0
        if resume:
            done, self.record = checkpoint.load(
                self.folder, parameters=self.parameters, optimizer=self.optimizer, average=self.average
            )
        started, before = time.monotonic(), self.record["seconds"]
        while done < self.method.steps:
            losses = self._step(done)
            done += 1
            for curve, loss in zip(self.record["losses"], losses):
                curve.append(loss)
            self.record["seconds"] = before + time.monotonic() - started
            if self.folder is not None and done % self.checkpoint_every == 0 and done < self.method.steps:
                self.processes.main_does(functools.partial(self.save, done))
            self.on_step(done, sum(losses) / len(losses))

    def tensors(self, number: int = 0) -> dict:
        """The tensors of student `number` now: moving averages where there are, and the spaces' constants."""
        found = self.students[number].tensors()
        if self.average is not None:
            names = self.students[number].parameters()
            found |= {name: self.average[f"{number}/{name}"].cpu().clone() for name in names}
        return found

    def save(self, done: int):
        """Writes a checkpoint after `done` steps."""
        checkpoint.save(
            self.folder,
            step=done,
            parameters=self.parameters,
            optimizer=self.optimizer,
            average=self.average,
            record=self.record,
        )

    # ---------------------------------------------------------------------------------------------------------- a step

    def _step(self, done: int) -> list[float]:
        """One optimiser step; the loss of each student, as the mean over passes and processes."""
        active = self._activate(done)
        parts = self.method.accumulation
        losses = torch.zeros(len(self.students), device=self.device)
        for part in range(parts):
            number = (done * parts + part) * self.processes.count + self.processes.index
            each = self._forward(number)
            self.scaler.scale(each.sum() / parts).backward()
            losses += each.detach() / parts
        losses = self.processes.mean(losses, [p for own in active for p in own])
        found = losses.tolist()
        if not losses.isfinite().all():
            kept = f"; the state before it is kept in {self.folder}" if self.folder else ""
            bad = found[0] if len(found) == 1 else dict(zip((s.token for s in self.students), found))
            raise PersonaError(f"the loss is {bad} at step {done + 1}: learn with a smaller lr or in fp32{kept}")
        self._update(active)
        return found

    def _forward(self, number: int) -> Tensor:
        """The loss of each student [N] in forward pass `number` of the run."""
        rows = [self._noised(student, number) for student in self.students]
        noisy, timesteps = torch.cat([r.noisy for r in rows]), torch.cat([r.timesteps for r in rows])
        devices = [noisy.device] if noisy.device.type == "cuda" else []
        with self.autocast(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(generator(self.students[0].seed, number, 1).initial_seed())
            conditions = self.text.of([prompt for r in rows for prompt in r.batch.prompts])
            predictions = self.host.denoise(noisy, timesteps, conditions).split([len(r.noisy) for r in rows])
        return torch.stack([self._loss(r, prediction) for r, prediction in zip(rows, predictions)])

    def _noised(self, student: Student, number: int) -> Noised:
        batch, random = student.examples.batch(number)
        latents = batch.latents
        noise = torch.randn(latents.shape, generator=random).to(latents)
        steps = self.schedule.config.num_train_timesteps
        timesteps = torch.randint(0, steps, (len(latents),), generator=random).to(latents.device)
        target = noise
        if self.schedule.config.prediction_type == "v_prediction":
            target = self.schedule.get_velocity(latents, noise, timesteps)
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        return Noised(batch=batch, noisy=noisy, timesteps=timesteps, target=target)

    def _loss(self, rows: Noised, prediction: Tensor) -> Tensor:
        batch = rows.batch
        step = Step(prediction=prediction, target=rows.target, masks=batch.masks, concept_rows=batch.concept_rows)
        return sum(loss(step) for loss in self.losses)

    def autocast(self):
        """The context in which the host computes in the run's precision."""
        dtype = PRECISIONS[self.precision]
        whole = dtype is torch.float32
        return contextlib.nullcontext() if whole else torch.autocast(self.device.type, dtype)

    def _activate(self, done: int) -> list[list]:
        """Sets rates and who learns; the learning parameters of each student."""
        active = [[] for _ in self.students]
        for group, ((number, _), kind) in zip(self.optimizer.param_groups, self.learners):
            learns = self.method.learns(kind, done)
            group["lr"] = group["base_lr"] * optimisers.factor(self.method, done)
            for parameter in group["params"]:
                parameter.requires_grad_(learns)
            active[number] += group["params"] if learns else []
        return active

    def _update(self, active: list[list]):
        self.scaler.unscale_(self.optimizer)
        if self.method.clip is not None:
            for own in active:
                torch.nn.utils.clip_grad_norm_(own, self.method.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            for name, mean in self.average.items():
                mean.lerp_(self.parameters[name].detach(), 1.0 - self.method.ema)
