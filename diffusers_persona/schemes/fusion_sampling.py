"""Fusion sampling: the concept is woven in at each noise level before prompt and concept refine the step."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from .prompting import Prompting


@dataclasses.dataclass(frozen=True, kw_only=True)
class FusionSampling(Prompting):
    """Two stages a step; as a recipe's scheme, prompts work as ever and `draw` samples so.

    Source: ProFusion, arXiv 2305.13579, fusion sampling.

    Attributes:
        rounds: of the fusion stage at each step; 0 for none.
        eta: sigma of that stage as a part of DDIM's.
        fusion: guidance scale of that stage.
        strength: of the concept in that stage; 1 as learned.
        concept, text: guidance scales of the refinement stage: of the prompt with the concept, and of the prompt with
            the class word.
    """

    kind: ClassVar[str] = "fusion_sampling"

    rounds: int = 1
    eta: float = 1.0
    fusion: float = 3.0
    strength: float = 0.8
    concept: float = 5.0
    text: float = 0.0

    def draw(self, pipe, concept, prompt: str, *, count: int = 1, steps: int = 50, generator=None, resolution=None):
        """Pictures (PIL) of `prompt`, which names the concept as any prompt does.

        Args:
            pipe: a pipeline that the concept is not attached to; it is left as it was.
            concept: a `Concept`.
            generator: of the first noise and of the fusion stage's, on the CPU.
        """
        import torch

        from .. import backbones
        from ..functional.fusion import fusion_step, summed_guidance
        from .sampling import ddim, noise_of, texts

        host = backbones.of(pipe)
        plain = prompt.replace(concept.phrase, concept.noun).replace(concept.token, concept.noun)
        with concept.attach(pipe, scale=self.strength) as held:
            weak = texts(host, [""] * count + [prompt] * count)
            held.scale = 1.0
            full = texts(host, [""] * count + [prompt] * count + [plain] * count)

            def predict(latents, t, alpha, before):
                held.scale = self.strength
                for _ in range(self.rounds):
                    empty, personal = noise_of(host, latents.repeat(2, 1, 1, 1), t, weak).chunk(2)
                    noise = torch.randn(latents.shape, generator=generator).to(latents)
                    moved = summed_guidance(empty, (personal, self.fusion))
                    latents = fusion_step(latents, moved, noise, alpha, before, self.eta)
                held.scale = 1.0
                empty, personal, named = noise_of(host, latents.repeat(3, 1, 1, 1), t, full).chunk(3)
                return latents, summed_guidance(empty, (personal, self.concept), (named, self.text))

            return ddim(host, predict, count, steps=steps, generator=generator, resolution=resolution)
