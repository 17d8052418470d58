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

from ..attention.store import AttentionStore
from ..backbones import Backbone
from ..errors import PersonaError
from ..inversion.optimization import Optimization
from ..losses.step import Step, World
from ..spaces.base import Subject
from . import checkpoint, optimisers, searching
from .examples import Batch, Examples, TextConditions
from .precision import PRECISIONS
from .processes import Processes
from .randomness import generator


@dataclasses.dataclass(kw_only=True)
class Student:
    """One concept of a run: what it trains, and on which examples.

    Attributes:
        subject: what it is.
        learners: (number, kind) of a space -> its `Learner`.
        examples: where its batches come from.
        seed: of all that is drawn for it.
    """

    subject: Subject
    learners: dict
    examples: Examples
    seed: int

    def by_kind(self) -> dict:
        """Kind of a space -> its learners."""
        found = {}
        for (_, kind), learner in self.learners.items():
            found.setdefault(kind, []).append(learner)
        return found

    def parameters(self) -> dict:
        """Name in the concept file -> trainable parameter."""
        return {
            f"{i}.{kind}.{name}": p
            for (i, kind), learner in self.learners.items()
            for name, p in learner.parameters.items()
        }

    def state(self) -> dict:
        """Name -> tensor that changes without a gradient."""
        return {
            f"{i}.{kind}.{name}": tensor
            for (i, kind), learner in self.learners.items()
            for name, tensor in learner.state.items()
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
    """One student's rows of a forward pass; shapes as in `losses.Step`, timesteps [B]."""

    batch: Batch
    noise: Tensor
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
        stock: its frozen twin, where a loss needs it.
        method: the `inversion.Optimization` with the run's numbers.
        students: the concepts.
        text: where text conditions come from.
        processes: this process and the others; each takes its share of an optimiser step's forward passes.
        folder: where checkpoints go, or None for none.
        on_step: called after each step with (steps done, mean loss).
    """

    host: Backbone
    stock: Backbone | None = None
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
        self.schedule = self.host.noise_schedule()
        self.store = AttentionStore(self.host) if "attention" in self.method.needs else None
        stock_text = None if self.stock is None else TextConditions(self.stock, lambda prompt: False)
        self.worlds = [
            World(
                host=self.host,
                stock=self.stock,
                subject=student.subject,
                learners=student.by_kind(),
                text=self.text,
                stock_text=stock_text,
                schedule=self.schedule,
                autocast=self.autocast,
                store=self.store,
            )
            for student in self.students
        ]
        self.learners = {((n, i), k): v for n, s in enumerate(self.students) for (i, k), v in s.learners.items()}
        self.parameters = {f"{n}/{k}": p for n, s in enumerate(self.students) for k, p in s.parameters().items()}
        self.states = {f"{n}/{k}": tensor for n, s in enumerate(self.students) for k, tensor in s.state().items()}
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
                self.folder,
                parameters=self.parameters,
                states=self.states,
                optimizer=self.optimizer,
                average=self.average,
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
        with self._averaged():
            return self.students[number].tensors()

    @contextlib.contextmanager
    @torch.no_grad()
    def _averaged(self):
        """The parameters are their moving averages, where there are."""
        present = {name: self.parameters[name].detach().clone() for name in self.average or ()}
        for name in present:
            self.parameters[name].copy_(self.average[name])
        yield
        for name, value in present.items():
            self.parameters[name].copy_(value)

    def save(self, done: int):
        """Writes a checkpoint after `done` steps."""
        checkpoint.save(
            self.folder,
            step=done,
            parameters=self.parameters,
            states=self.states,
            optimizer=self.optimizer,
            average=self.average,
            record=self.record,
        )

    # ---------------------------------------------------------------------------------------------------------- a step

    def _step(self, done: int) -> list[float]:
        """One optimiser step; the loss of each student, as the mean over passes and processes."""
        if isinstance(self.optimizer, searching.Evolution):
            return self._checked(searching.generation(self, self.optimizer, done), done)
        active = self._activate(done)
        parts = self.method.accumulation
        losses = torch.zeros(len(self.students), device=self.device)
        for part in range(parts):
            number = (done * parts + part) * self.processes.count + self.processes.index
            each = self.forward(number, done)
            self.scaler.scale(each.sum() / parts).backward()
            losses += each.detach() / parts
        losses = self.processes.mean(losses, [p for own in active for p in own])
        found = self._checked(losses, done)
        self._update(active)
        for (_, kind), learner in self.learners.items():
            if learner.constrain is not None and self.method.learns(kind, done):
                learner.constrain()
        return found

    def _checked(self, losses: Tensor, done: int) -> list[float]:
        """The losses as numbers.

        Raises:
            PersonaError: one of them is none.
        """
        found = losses.tolist()
        if not losses.isfinite().all():
            kept = f"; the state before it is kept in {self.folder}" if self.folder else ""
            bad = found[0] if len(found) == 1 else dict(zip((s.subject.token for s in self.students), found))
            raise PersonaError(f"the loss is {bad} at step {done + 1}: learn with a smaller lr or in fp32{kept}")
        return found

    def forward(self, number: int, done: int) -> Tensor:
        """The loss of each student [N] in forward pass `number` of the run, at step `done`."""
        rows = [self._noised(student, number) for student in self.students]
        noisy, timesteps = torch.cat([r.noisy for r in rows]), torch.cat([r.timesteps for r in rows])
        for student, own in zip(self.students, rows):
            for learner in student.learners.values():
                if learner.follow is not None:
                    learner.follow(own.batch, own.timesteps)
        devices = [noisy.device] if noisy.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(generator(self.students[0].seed, number, 1).initial_seed())
            with self.autocast():
                conditions = self.text.of([prompt for r in rows for prompt in r.batch.prompts])
                prediction = self.host.denoise(noisy, timesteps, conditions)
            view = None if self.store is None else self.store.take()
            return torch.stack(self._losses(rows, prediction, conditions, view, done))

    def _noised(self, student: Student, number: int) -> Noised:
        batch, random = student.examples.batch(number)
        latents = batch.latents
        noise = torch.randn(latents.shape, generator=random).to(latents)
        if self.method.noise_offset:
            shift = torch.randn(*latents.shape[:2], 1, 1, generator=random).to(latents)
            noise = noise + self.method.noise_offset * shift
        timesteps = self.method.timesteps.draw(len(latents), self.schedule, random).to(latents.device)
        target = noise
        if self.schedule.config.prediction_type == "v_prediction":
            target = self.schedule.get_velocity(latents, noise, timesteps)
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        return Noised(batch=batch, noise=noise, noisy=noisy, timesteps=timesteps, target=target)

    def _losses(self, rows: list[Noised], prediction: Tensor, conditions: dict, view, done: int) -> list[Tensor]:
        """The loss of each student."""
        phase, found, start = self.method.phase(done), [], 0
        losses = self.method.losses if phase is None or phase.losses is None else phase.losses
        for own, world in zip(rows, self.worlds):
            batch, stop = own.batch, start + len(own.noisy)
            step = Step(
                prediction=prediction[start:stop],
                target=own.target,
                noise=own.noise,
                noisy=own.noisy,
                latents=batch.latents,
                timesteps=own.timesteps,
                masks=batch.masks,
                part_masks=batch.part_masks,
                concept_rows=batch.concept_rows,
                prompts=batch.prompts,
                pictures=batch.pictures,
                conditions={name: tensor[start:stop] for name, tensor in conditions.items()},
                number=done,
                steps=self.method.steps,
                attention=None if view is None else view.rows(start, stop),
                world=world,
            )
            found.append(sum(loss(step) for loss in losses if loss.weight))
            start = stop
        return found

    def autocast(self):
        """The context in which the host computes in the run's precision."""
        dtype = PRECISIONS[self.precision]
        whole = dtype is torch.float32
        return contextlib.nullcontext() if whole else torch.autocast(self.device.type, dtype)

    def _activate(self, done: int) -> list[list]:
        """Sets rates and who learns; the learning parameters of each student."""
        active = [[] for _ in self.students]
        phase = self.method.phase(done)
        for learner in self.learners.values():
            if learner.enter is not None:
                learner.enter(self.method.phase_number(done))
        for group, ((number, _), kind) in zip(self.optimizer.param_groups, self.learners):
            learns = self.method.learns(kind, done)
            base = group["base_lr"] if phase is None or phase.lr is None else phase.lr
            group["lr"] = base * optimisers.factor(self.method, done)
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
