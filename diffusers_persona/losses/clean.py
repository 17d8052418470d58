"""Losses on the clean picture that a prediction means, in latent space."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ..errors import PersonaError
from .denoising import squared_error
from .step import Step
from .wording import in_plain_words

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisyThenClean:
    """The noise is learned where there is much of it, the clean latents where there is little; inside the masks.

    Masks are weights: a face in white and its hair in a grey of one tenth are the paper's face + 0.1 hair.

    Source: Wang et al., StableIdentity, arXiv 2401.15975, section 3.3.

    Attributes:
        switch: part of the process above which the noise (or v) counts, in [0, 1].
        clean_weight: of the clean latents' squared error; the paper divides SD's latents by their scaling factor.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.0
    switch: float = 0.6
    clean_weight: float = 1 / 0.18215**2

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        import torch

        rows, total = slice(0, step.concept_rows), step.world.schedule.config.num_train_timesteps
        times = step.timesteps[rows]
        noisy, prediction = step.noisy[rows], step.prediction[rows]
        clean = step.clean(prediction.float(), noisy.float(), times)
        late = (times > self.switch * total).view(-1, 1, 1, 1)
        scale = self.clean_weight**0.5
        seen = torch.where(late, prediction.float(), scale * clean)
        wanted = torch.where(late, step.target[rows].float(), scale * step.latents[rows].float())
        return self.weight * squared_error(seen, wanted, None if step.masks is None else step.masks[rows])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Insertion:
    """The thing comes from the picture, all around it from the class: losses on the clean latents of both.

    foreground: mean of M (x0 - z)^2; background: mean of (1 - M) (x0 - y0)^2; semantic: mean of (y - y0)^2, with the
    mask M, the picture's latents z, the estimate x0 for the concept's prompt, and y for the same prompt with the class
    word alone: y0 by the frozen twin, y by the model that learns.

    Source: Wu et al., SingleInsert, arXiv 2310.08094, equations 3 to 6.

    Attributes:
        background, semantic: weights beside the foreground's 1; 0 for none.
    """

    needs: ClassVar[tuple[str, ...]] = ("stock",)

    weight: float = 1.0
    background: float = 1.0
    semantic: float = 0.0

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar.

        Raises:
            PersonaError: the pictures have no masks.
        """
        if step.masks is None:
            raise PersonaError("this recipe tells the thing from its background: give masks= of the pictures")
        rows = slice(0, step.concept_rows)
        noisy, times, masks = step.noisy[rows], step.timesteps[rows], step.masks[rows].float()
        plain = [in_plain_words(prompt, step.subject) for prompt in step.prompts[rows]]

        def clean(prediction):
            return step.clean(prediction.float(), noisy.float(), times)

        seen = clean(step.prediction[rows])
        stock = clean(step.stock_denoise(noisy, times, step.stock_encode(plain)))
        loss = (masks * (seen - step.latents[rows].float()).pow(2)).mean()
        loss = loss + self.background * ((1.0 - masks) * (seen - stock).pow(2)).mean()
        if self.semantic:
            own = clean(step.denoise(noisy, times, step.encode(plain)))
            loss = loss + self.semantic * (own - stock).pow(2).mean()
        return self.weight * loss
