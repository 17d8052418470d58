"""Optimiser steps without gradients: candidates are tried on one and the same forward pass, the best lead on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..functional import evolution
from .randomness import generator

if TYPE_CHECKING:
    from .loop import Loop


class Evolution(torch.optim.Optimizer):
    """CMA-ES: each parameter is the mean of a search of its own, judged by its concept's loss.

    The state is kept in float32, as checkpoints keep it, and computed with in double precision.

    Args:
        groups: of parameters; a group's ``lr`` is the step size that it begins with.
        population: candidates a generation; >= 4.
    """

    def __init__(self, groups, population: int):
        super().__init__(groups, {})
        self.population = population
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = _rounded(evolution.begin(parameter.flatten(), group["lr"]))

    def candidates(self, parameter: Tensor, random: torch.Generator) -> Tensor:
        """What to try in the place of `parameter` (n numbers): [population, n]."""
        normals = torch.randn(self.population, parameter.numel(), generator=random)
        return evolution.candidates(self._exact(parameter), normals).float()

    def advance(self, parameter: Tensor, tried: Tensor, losses: Tensor):
        """Moves the search of `parameter` on by the losses [population] of what was tried."""
        constants = evolution.Constants.of(parameter.numel(), self.population)
        state = evolution.advanced(self._exact(parameter), tried, losses, constants)
        self.state[parameter] = _rounded(state)
        parameter.copy_(state["mean"].view_as(parameter))

    def _exact(self, parameter) -> dict[str, Tensor]:
        return {name: value.double().cpu() for name, value in self.state[parameter].items()}


def _rounded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() for name, value in state.items()}


@torch.no_grad()
def generation(loop: Loop, search: Evolution, done: int) -> Tensor:
    """One step of the search in each student; their losses [N], as the mean over the candidates.

    All candidates of a generation see the same pictures, noise and timesteps.
    """
    parts, count = loop.method.accumulation, loop.processes.count
    own = [list(student.parameters().values()) for student in loop.students]
    tried = {
        parameter: search.candidates(parameter, generator(student.seed, done, number, 3))
        for student, parameters in zip(loop.students, own)
        for number, parameter in enumerate(parameters)
    }
    losses = torch.zeros(search.population, len(loop.students), device=loop.device)
    for candidate in range(search.population):
        for parameter, rows in tried.items():
            parameter.copy_(rows[candidate].view_as(parameter))
        for part in range(parts):
            losses[candidate] += loop.forward((done * parts + part) * count + loop.processes.index, done) / parts
    losses = loop.processes.mean(losses.flatten(), []).view_as(losses)
    for column, parameters in enumerate(own):
        for parameter in parameters:
            search.advance(parameter, tried[parameter], losses[:, column].cpu())
    return losses.mean(0)
