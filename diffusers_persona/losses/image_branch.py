"""Losses of an image branch: it takes up what belongs to each picture, and keeps away from the concept's text.

Source: Chen et al., DisenBooth, arXiv 2305.03374, equations 4 to 6.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from .denoising import squared_error
from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageConditioned:
    """The denoising loss with each picture's own vector added to every state of its text."""

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.0

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        rows = slice(0, step.concept_rows)
        conditions = {name: value[rows] for name, value in step.conditions.items()}
        text = conditions["encoder_hidden_states"]
        conditions["encoder_hidden_states"] = text + image_vectors(step)[:, None].to(text)
        prediction = step.denoise(step.noisy[rows], step.timesteps[rows], conditions)
        masks = None if step.masks is None else step.masks[rows]
        return self.weight * squared_error(prediction, step.target[rows], masks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disentangled:
    """The cosine of the text's mean state and the picture's vector, the mean over the rows."""

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 1e-3

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        from ..functional.image_branch import mean_text_cosine

        text = step.conditions["encoder_hidden_states"][: step.concept_rows].float()
        return self.weight * mean_text_cosine(text, image_vectors(step)).mean()


def image_vectors(step: Step) -> Tensor:
    """The image branch's vector [rows, w] of the picture in each of the concept's rows."""
    from ..functional.image_branch import masked_residual

    learner = step.learners["image_branch"][0]
    features = learner.constants["features"][step.pictures[: step.concept_rows]]
    return masked_residual(features, learner.parameters)
