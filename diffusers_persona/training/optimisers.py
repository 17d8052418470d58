"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

import math

import torch

from ..errors import PersonaError
from .searching import Evolution

OPTIMISERS = {
    "adamw": lambda groups, m: torch.optim.AdamW(groups, betas=m.betas, weight_decay=m.weight_decay, fused=True),
    "adam": lambda groups, m: torch.optim.Adam(groups, betas=m.betas, fused=True),
    "sgd": lambda groups, m: torch.optim.SGD(groups, weight_decay=m.weight_decay, fused=True),
    "adafactor": lambda groups, m: torch.optim.Adafactor(groups, weight_decay=m.weight_decay),
    "cma-es": lambda groups, m: Evolution(groups, m.population),
}


def make(method, learners: dict) -> torch.optim.Optimizer:
    """The optimiser of a run, with one group of parameters a space (`learners`: space kind and number -> Learner)."""
    if method.optimizer not in OPTIMISERS:
        raise PersonaError(f"optimizer={method.optimizer!r}: choose one of {', '.join(OPTIMISERS)}")
    groups = []
    for (_, kind), learner in learners.items():
        rate = method.rate(kind, learner.name) if learner.parameters else 0.0
        groups.append({"params": list(learner.parameters.values()), "lr": rate, "base_lr": rate})
    return OPTIMISERS[method.optimizer](groups, method)


def factor(method, step: int) -> float:
    """The learning rate at `step` (0-based) as a part of the base rate."""
    if step < method.warmup:
        return (step + 1) / method.warmup
    progress = (step - method.warmup) / max(1, method.steps - method.warmup)
    if method.schedule == "constant":
        return 1.0
    if method.schedule == "linear":
        return 1.0 - progress
    if method.schedule == "cosine":
        return 0.5 + 0.5 * math.cos(math.pi * progress)
    raise PersonaError(f"schedule={method.schedule!r}: choose constant, linear or cosine")
