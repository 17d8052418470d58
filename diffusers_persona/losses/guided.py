"""The denoising loss through classifier-free guidance with a learned negative word.

Source: Dong et al., DreamArtist, arXiv 2211.11337, equations 4 to 6.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from .denoising import squared_error
from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidedDenoising:
    """E |target - (e- + guidance (e+ - e-))|^2: e+ with the concept's word, e- with the negative one in its place.

    Attributes:
        guidance: gamma.
        negative: name of the negative word beside the concept's own.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.0
    guidance: float = 5.0
    negative: str = "neg"

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        rows = slice(0, step.concept_rows)
        guided = guided_prediction(step, self.guidance, self.negative)
        masks = None if step.masks is None else step.masks[rows]
        return self.weight * squared_error(guided, step.target[rows], masks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidedReconstruction:
    """|decoded clean estimate - decoded latents|_1 of the guided prediction; the papers' pixel loss.

    Attributes:
        guidance, negative: see `GuidedDenoising`.
    """

    needs: ClassVar[tuple[str, ...]] = ("pixels",)

    weight: float = 0.0
    guidance: float = 5.0
    negative: str = "neg"

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        import torch

        rows = slice(0, step.concept_rows)
        guided = guided_prediction(step, self.guidance, self.negative)
        clean = step.clean(guided, step.noisy[rows], step.timesteps[rows])
        with torch.no_grad():
            pictures = step.decode(step.latents[rows])
        return self.weight * (step.decode(clean).float() - pictures.float()).abs().mean()


def guided_prediction(step: Step, guidance: float, negative: str) -> Tensor:
    """The concept rows' prediction under guidance away from the negative word, [rows, c, h, w]."""
    from ..functional.diffusion import guided
    from ..spaces.base import named

    rows = slice(0, step.concept_rows)
    token = step.subject.token
    conditions = step.encode([prompt.replace(token, named(token, negative)) for prompt in step.prompts[rows]])
    away = step.denoise(step.noisy[rows], step.timesteps[rows], conditions)
    return guided(step.prediction[rows], away, guidance)
