"""Scores of sets of pictures: diversity (DIV) and the Fréchet distance (FID).

Pure functions on features first. PRES, which needs the concept, is `scorer.Scorer.preservation`.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from diffusers_persona.errors import PersonaError

from .instruments import Perceptual


def perceptual_distance(layers_a: Sequence[Any], layers_b: Sequence[Any]) -> torch.Tensor:
    """Distance of pictures in a network's feature maps, in the form of LPIPS without its learned weights, [N].

    Each place's feature vector is given unit length; squared differences are summed over channels, averaged over
    places and then over layers, so that a value lies in [0, 4]. Source: Zhang et al., arXiv 1801.03924, equation 1
    with w = 1.

    Args:
        layers_a, layers_b: one tensor [N, channels, ...places] a layer, the same layers on both sides.
    """
    distances = []
    for a, b in zip(layers_a, layers_b, strict=True):
        a, b = (torch.nn.functional.normalize(torch.as_tensor(each).float(), dim=1) for each in (a, b))
        distances.append((a - b).square().sum(dim=1).flatten(1).mean(dim=1))
    return torch.stack(distances).mean(dim=0)


def diversity(instruments: Any, groups: Sequence[Sequence[Image.Image]]) -> float | None:
    """DIV: the mean perceptual distance of the pairs of pictures of one prompt, averaged over prompts.

    Args:
        instruments: a set of instruments; None is returned where it has no feature maps.
        groups: the pictures of each prompt; groups of one picture count nothing.

    Source: DreamBooth (arXiv 2208.12242), section 4.3, there with LPIPS.
    """
    groups = [list(group) for group in groups if len(group) > 1]
    if not groups or not isinstance(instruments, Perceptual):
        return None
    means = []
    for group in groups:
        layers = instruments.feature_maps(group)
        first, second = zip(*itertools.combinations(range(len(group)), 2), strict=True)
        pairs = perceptual_distance(
            [layer[list(first)] for layer in layers], [layer[list(second)] for layer in layers]
        )
        means.append(float(pairs.mean()))
    return sum(means) / len(means)


def frechet_distance(generated: Any, real: Any) -> float:
    """FID of two sets of features [N, d] and [M, d]: ||m1 - m2||^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    The trace of the root is taken from the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric. In float64. With
    fewer pictures than dimensions the value is biased upwards: compare values of equal counts alone.
    Source: Heusel et al., arXiv 1706.08500.

    Raises:
        PersonaError: fewer than two pictures on a side, or widths that differ.
    """
    first, second = np.asarray(generated, dtype=np.float64), np.asarray(real, dtype=np.float64)
    if min(len(first), len(second)) < 2 or first.shape[1] != second.shape[1]:
        raise PersonaError(f"FID needs two pictures or more a side, of one width: got {first.shape}, {second.shape}.")
    shift = first.mean(axis=0) - second.mean(axis=0)
    covariance, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    covariance, other = np.atleast_2d(covariance), np.atleast_2d(other)
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(min=0)).sum()
    return float(shift @ shift + np.trace(covariance) + np.trace(other) - 2 * cross)
