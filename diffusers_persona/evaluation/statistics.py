"""Means with seeded bootstrap intervals, clustered by concept.

The pictures of one concept resemble each other, so they are not independent draws: what is resampled is the concept.
Every concept has the same weight, however many pictures it has. Source: Efron & Tibshirani, "An Introduction to the
Bootstrap" (1993), percentile intervals; Field & Welsh, "Bootstrapping clustered data" (2007).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffusers_persona.errors import PersonaError


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over clusters with its bootstrap interval.

    `low` and `high` are None where fewer than two clusters make an interval impossible. `count` is the number of
    values.
    """

    mean: float
    low: float | None
    high: float | None
    clusters: int
    count: int
    level: float = 0.95

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above zero (False where there is no interval)."""
        return self.low is not None and self.low > 0

    @property
    def below_zero(self) -> bool:
        """Whether the whole interval lies below zero (False where there is no interval)."""
        return self.high is not None and self.high < 0


def bootstrap(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    draws: int = 4000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean of the cluster means of `values`, with a percentile interval from resampled clusters.

    Args:
        values: one number a picture (or a cell).
        clusters: the cluster of each value, for example its concept; as long as `values`.
        draws: bootstrap resamples.
        level: coverage of the interval, between 0 and 1.
        seed: the same seed gives the same interval.

    Raises:
        PersonaError: no values, or lengths that differ.
    """
    if len(values) != len(clusters):
        raise PersonaError(
            f"bootstrap got {len(values)} values but {len(clusters)} clusters: give one cluster a value."
        )
    if not len(values):
        raise PersonaError("bootstrap got no values: run the benchmark for at least one concept first.")
    if not 0 < level < 1:
        raise PersonaError(f"bootstrap level must lie between 0 and 1, got {level}.")
    means = cluster_means(values, clusters)
    low = high = None
    if len(means) > 1:
        picks = np.random.default_rng(seed).integers(len(means), size=(draws, len(means)))
        tail = (1 - level) / 2
        low, high = (float(q) for q in np.quantile(means[picks].mean(axis=1), [tail, 1 - tail]))
    return Interval(mean=float(means.mean()), low=low, high=high, clusters=len(means), count=len(values), level=level)


def paired_difference(
    treatment: Mapping[Hashable, float],
    control: Mapping[Hashable, float],
    clusters: Mapping[Hashable, Hashable],
    *,
    draws: int = 4000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of `treatment - control` over the keys both have; `clusters` names the cluster of each key.

    Pairing (same concept, prompt and noise on both sides) removes what the two have in common, so the interval is
    tighter than the distance of two separate ones.

    Raises:
        PersonaError: the two share no key.
    """
    shared = [key for key in treatment if key in control]
    if not shared:
        raise PersonaError("paired_difference: the two results share no picture, so they cannot be compared in pairs.")
    differences = [treatment[key] - control[key] for key in shared]
    return bootstrap(differences, [clusters[key] for key in shared], draws=draws, level=level, seed=seed)


def cluster_means(values: Sequence[float], clusters: Sequence[Hashable]) -> np.ndarray:
    """The mean of each cluster, in order of first appearance, as float64 [clusters]."""
    grouped: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        grouped.setdefault(cluster, []).append(float(value))
    return np.array([np.mean(group) for group in grouped.values()])
