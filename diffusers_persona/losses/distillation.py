"""Losses against a frozen twin, or against the model's own view of the class."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ..errors import PersonaError
from .step import Step
from .wording import in_plain_words

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsistencyPreference:
    """The learned model should denoise the pictures better than its frozen twin does, and need not do more.

    The twin reads the prompt with the class word in the place of the concept's. Same noise and timestep for both.

    Source: Direct Consistency Optimization, arXiv 2402.12004, the loss of its name.

    Attributes:
        beta: how dear it is to leave the twin.
    """

    needs: ClassVar[tuple[str, ...]] = ("stock",)

    weight: float = 1.0
    beta: float = 1000.0

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        from ..functional.distillation import consistency_preference, row_error

        rows = slice(0, step.concept_rows)
        plain = [in_plain_words(prompt, step.subject) for prompt in step.prompts[rows]]
        reference = step.stock_denoise(step.noisy[rows], step.timesteps[rows], step.stock_encode(plain))
        error = row_error(step.prediction[rows], step.target[rows])
        return self.weight * consistency_preference(error, row_error(reference, step.target[rows]), self.beta)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DerivedClass:
    """What is denoised for the subject should still be judged to be of its class by the model itself.

    The class-conditional classifier is implicit in the model's predictions for the subject's prompt, for the same
    prompt with the class word alone, and for the empty prompt. Only rows whose evidence is weaker than that of the
    class prediction itself count.

    Source: FaceChain-SuDe, arXiv 2403.06775, the regularisation and the truncation of its name.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 0.4

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        import torch

        from ..functional.diffusion import posterior
        from ..functional.distillation import derived_class

        rows = slice(0, step.concept_rows)
        noisy, timesteps = step.noisy[rows], step.timesteps[rows]
        plain = [in_plain_words(prompt, step.subject) for prompt in step.prompts[rows]]
        with torch.no_grad():
            texts = step.encode([*plain, *([""] * len(plain))])
            noun, empty = step.denoise(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), texts).float().chunk(2)
        alphas = step.world.schedule.alphas_cumprod.to(noisy.device)
        before = torch.cat([alphas.new_ones(1), alphas])[timesteps]
        means = [
            posterior(step.clean(p, noisy, timesteps), noisy, alphas[timesteps], before)
            for p in (step.prediction[rows].float(), noun, empty)
        ]
        (subject, variance, part), (noun, _, _), (empty, _, _) = means
        return self.weight * derived_class(subject, noun, empty, variance, part).mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptAlignment:
    """Keeps the concept's clean estimate in line with one target prompt, by score distillation from the frozen twin.

    The clean latents that the model estimates are noised anew, and pulled along the difference of two guided
    predictions: the twin's for the target prompt with the class word, and the model's own for the picture's prompt.

    Source: PALP, arXiv 2401.06105, the prompt alignment score.

    Attributes:
        target: the prompt that the concept is learned for, with ``{phrase}`` where it belongs.
        target_guidance, guidance: guidance scales of the twin's prediction and of the model's own.
    """

    needs: ClassVar[tuple[str, ...]] = ("stock",)

    target: str
    weight: float = 1.0
    target_guidance: float = 15.0
    guidance: float = 7.5

    def __post_init__(self):
        if "{phrase}" not in self.target:
            raise PersonaError(f"target={self.target!r} needs {{phrase}}, where the concept belongs")

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar whose gradient is the distillation's (its value means nothing)."""
        import torch

        from ..functional.distillation import distillation_pull

        rows = slice(0, step.concept_rows)
        clean = step.clean(step.prediction[rows].float(), step.noisy[rows], step.timesteps[rows])
        schedule = step.world.schedule
        last = schedule.config.num_train_timesteps
        timesteps = torch.randint(0, last, (len(clean),)).to(clean.device)
        noisy = schedule.add_noise(clean.detach(), torch.randn(clean.shape).to(clean), timesteps)
        target = self.target.format(phrase=step.subject.noun)
        steer_by, own_by = (step.stock_denoise, step.stock_encode), (step.denoise, step.encode)
        steer = self._guided(step, noisy, timesteps, *steer_by, [target] * len(clean), self.target_guidance)
        own = self._guided(step, noisy, timesteps, *own_by, step.prompts[rows], self.guidance)
        return self.weight * (distillation_pull(steer, own) * clean).mean()

    def _guided(self, step, noisy, timesteps, denoise, encode, prompts, scale):
        """One model's guided noise, without gradient."""
        import torch

        from ..functional.diffusion import noise_estimate
        from ..functional.distillation import guided

        with torch.no_grad():
            texts = encode([*([""] * len(prompts)), *prompts])
            both = denoise(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), texts).float()
        schedule = step.world.schedule
        alphas = schedule.alphas_cumprod.to(noisy)[timesteps].repeat(2)
        both = noise_estimate(both, noisy.repeat(2, 1, 1, 1), alphas, schedule.config.prediction_type)
        return guided(*both.chunk(2), scale)
