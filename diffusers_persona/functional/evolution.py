"""Covariance matrix adaptation: search without gradients.

Source: Hansen, The CMA Evolution Strategy: A Tutorial, arXiv 1604.00772, figure 6 and table 1.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Constants:
    """The strategy's numbers for n dimensions and a population of l candidates, in the tutorial's notation.

    Attributes:
        weights: of the better half of the candidates, the best first, [l // 2]; their sum is 1.
        mueff: variance-effective size of the selection.
        csigma, dsigma: learning rate and damping of the step size.
        cc, c1, cmu: learning rates of the path, the rank-one and the rank-mu update of the covariance.
        chi: expected length of a standard normal vector.
    """

    weights: Tensor
    mueff: float
    csigma: float
    dsigma: float
    cc: float
    c1: float
    cmu: float
    chi: float

    @classmethod
    def of(cls, n: int, population: int) -> Constants:
        """The defaults of the tutorial's table 1, without negative weights."""
        better = population // 2
        raw = math.log((population + 1) / 2) - torch.arange(1, better + 1, dtype=torch.float64).log()
        weights = raw / raw.sum()
        mueff = float(1.0 / weights.pow(2).sum())
        csigma = (mueff + 2) / (n + mueff + 5)
        c1 = 2 / ((n + 1.3) ** 2 + mueff)
        return cls(
            weights=weights,
            mueff=mueff,
            csigma=csigma,
            dsigma=1 + 2 * max(0.0, math.sqrt((mueff - 1) / (n + 1)) - 1) + csigma,
            cc=(4 + mueff / n) / (n + 4 + 2 * mueff / n),
            c1=c1,
            cmu=min(1 - c1, 2 * (mueff - 2 + 1 / mueff) / ((n + 2) ** 2 + mueff)),
            chi=math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2)),
        )


def begin(mean: Tensor, sigma: float) -> dict[str, Tensor]:
    """The state of a search from `mean` [n] with step size `sigma`, in double precision."""
    mean = mean.detach().double().cpu().clone()
    zeros, identity = torch.zeros_like(mean), torch.eye(len(mean), dtype=torch.float64)
    return {
        "mean": mean,
        "sigma": torch.tensor(float(sigma), dtype=torch.float64),
        "path_sigma": zeros.clone(),
        "path": zeros.clone(),
        "covariance": identity,
        "generation": torch.tensor(0.0, dtype=torch.float64),
    }


def axes(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Directions [n, n] (columns) and deviations [n] along them."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors, values.clamp(min=1e-20).sqrt()


def candidates(state: dict[str, Tensor], normals: Tensor) -> Tensor:
    """The candidates [l, n] that standard normal vectors [l, n] mean (equations 38 to 40)."""
    vectors, deviations = axes(state["covariance"])
    return state["mean"] + state["sigma"] * (normals.double() * deviations) @ vectors.T


def advanced(state: dict[str, Tensor], tried: Tensor, losses: Tensor, constants: Constants) -> dict[str, Tensor]:
    """The state after one generation (equations 41 to 47).

    Args:
        tried: the candidates [l, n].
        losses: of each, [l]; the smallest is the best.
    """
    k, n = constants, tried.shape[1]
    best = losses.argsort()[: len(k.weights)]
    steps = (tried[best].double() - state["mean"]) / state["sigma"]
    step = k.weights @ steps
    vectors, deviations = axes(state["covariance"])
    whitened = vectors @ ((vectors.T @ step) / deviations)
    path_sigma = (1 - k.csigma) * state["path_sigma"] + math.sqrt(k.csigma * (2 - k.csigma) * k.mueff) * whitened
    generation = state["generation"] + 1
    length = path_sigma.norm() / torch.sqrt(1 - (1 - k.csigma) ** (2 * generation))
    moving = float(length < (1.4 + 2 / (n + 1)) * k.chi)
    path = (1 - k.cc) * state["path"] + moving * math.sqrt(k.cc * (2 - k.cc) * k.mueff) * step
    stalled = (1 - moving) * k.cc * (2 - k.cc)
    covariance = (1 + k.c1 * stalled - k.c1 - k.cmu) * state["covariance"]
    covariance = covariance + k.c1 * torch.outer(path, path) + k.cmu * (steps.T * k.weights) @ steps
    return {
        "mean": state["mean"] + state["sigma"] * step,
        "sigma": state["sigma"] * torch.exp(k.csigma / k.dsigma * (path_sigma.norm() / k.chi - 1)),
        "path_sigma": path_sigma,
        "path": path,
        "covariance": (covariance + covariance.T) / 2,
        "generation": generation,
    }
