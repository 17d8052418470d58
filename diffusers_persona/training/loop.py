"""The one training loop of every recipe that optimises."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import reduce

from ..errors import PersonaError
from ..losses.denoising import Step
from . import checkpoint, optimisers
from .randomness import generator

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclasses.dataclass(kw_only=True)
class Loop:
    """One run: a host clone, the learners of its spaces, examples and losses.

    Attributes:
        host: private clone that is trained.
        method: the `inversion.Optimization` with the run's numbers.
        learners: (number, kind) of a space -> its `Learner`.
        examples, text: where batches and text conditions come from.
        folder: where checkpoints go, or None for none.
        on_step: called after each step with (steps done, loss).
    """

    host: object
    method: object
    learners: dict
    examples: object
    text: object
    seed: int
    precision: str = "fp32"
    folder: Path | None = None
    checkpoint_every: int = 100
    on_step: Callable[[int, float], None] = lambda done, loss: None

    def __post_init__(self):
        self.state = PartialState(cpu=self.host.device.type == "cpu")
        self.losses = [loss for loss in self.method.losses if loss.weight]
        self.schedule = self.host.noise_schedule()
        self.parameters = {
            f"{i}.{kind}.{name}": p
            for (i, kind), learner in self.learners.items()
            for name, p in learner.parameters.items()
        }
        self.optimizer = optimisers.make(self.method, self.learners)
        self.average = None
        if self.method.ema is not None:
            self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.record = {"losses": [], "seconds": 0.0}
        self.scaler = torch.amp.GradScaler(self.host.device.type, enabled=self.precision == "fp16")

    def run(self, resume: bool = False) -> dict:
        """Learns to the end; returns the concept's tensors, named as in the concept file.

        Raises:
            PersonaError: when the loss is no longer a number; the last checkpoint is kept.
        """
        done = 0
        if resume:
            done, self.record = checkpoint.load(
                self.folder, parameters=self.parameters, optimizer=self.optimizer, average=self.average
            )
        started, before = time.monotonic(), self.record["seconds"]
        while done < self.method.steps:
            loss = self._step(done)
            done += 1
            self.record["losses"].append(loss)
            self.record["seconds"] = before + time.monotonic() - started
            if self._due(done):
                self.save(done)
            self.on_step(done, loss)
        return self.tensors()

    def tensors(self) -> dict:
        """The concept's tensors now: moving averages where there are, and the spaces' constants."""
        found = {}
        for (i, kind), learner in self.learners.items():
            found |= {f"{i}.{kind}.{name}": tensor for name, tensor in learner.tensors().items()}
        if self.average is not None:
            found |= {name: tensor.cpu().clone() for name, tensor in self.average.items()}
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

    def _step(self, done: int) -> float:
        active = self._activate(done)
        parts = self.method.accumulation
        total = 0.0
        for part in range(parts):
            number = (done * parts + part) * self.state.num_processes + self.state.process_index
            loss = self._forward(number)
            self.scaler.scale(loss / parts).backward()
            total += float(loss.detach()) / parts
        if not math.isfinite(total):
            kept = f"; the state before it is kept in {self.folder}" if self.folder else ""
            raise PersonaError(f"the loss is {total} at step {done + 1}: learn with a smaller lr or in fp32{kept}")
        self._update(active)
        return total

    def _forward(self, number: int):
        batch, random = self.examples.batch(number)
        latents = batch.latents
        noise = torch.randn(latents.shape, generator=random).to(latents)
        steps = self.schedule.config.num_train_timesteps
        timesteps = torch.randint(0, steps, (len(latents),), generator=random).to(latents.device)
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        target = noise
        if self.schedule.config.prediction_type == "v_prediction":
            target = self.schedule.get_velocity(latents, noise, timesteps)
        devices = [latents.device] if latents.device.type == "cuda" else []
        with self._autocast(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(generator(self.seed, number, 1).initial_seed())
            conditions = self.text.of(batch.prompts)
            prediction = self.host.denoise(noisy, timesteps, conditions)
        step = Step(prediction=prediction, target=target, masks=batch.masks, concept_rows=batch.concept_rows)
        return sum(loss(step) for loss in self.losses)

    def _autocast(self):
        dtype = PRECISIONS[self.precision]
        return contextlib.nullcontext() if dtype is None else torch.autocast(self.host.device.type, dtype)

    def _activate(self, done: int) -> list:
        active = []
        for group, (_, kind) in zip(self.optimizer.param_groups, self.learners):
            learns = self.method.learns(kind, done)
            group["lr"] = group["base_lr"] * optimisers.factor(self.method, done)
            for parameter in group["params"]:
                parameter.requires_grad_(learns)
            active += group["params"] if learns else []
        return active

    def _update(self, active: list):
        if self.state.num_processes > 1:
            for parameter in active:
                parameter.grad = reduce(parameter.grad, "mean")
        self.scaler.unscale_(self.optimizer)
        if self.method.clip is not None:
            torch.nn.utils.clip_grad_norm_(active, self.method.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            for name, mean in self.average.items():
                mean.lerp_(self.parameters[name].detach(), 1.0 - self.method.ema)

    def _due(self, done: int) -> bool:
        if self.folder is None or not self.state.is_main_process or done == self.method.steps:
            return False
        return done % self.checkpoint_every == 0
