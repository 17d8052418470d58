"""Reward guidance: the stock model leads by the prompt in plain words, the concept adds what it makes of it."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from .prompting import Prompting


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardGuidance(Prompting):
    """Three predictions a step in place of two; as a recipe's scheme, prompts work as ever and `draw` samples so.

    Source: Direct Consistency Optimization, arXiv 2402.12004, reward guidance; the same equation is the style guidance
    of Pair Customization, arXiv 2408.01556, section 3.4, where the stock model's picture keeps its structure.

    Attributes:
        text: scale of the prompt in plain words.
        concept: scale of what the concept adds; 0 leaves it out.
    """

    kind: ClassVar[str] = "reward_guidance"

    text: float = 5.0
    concept: float = 5.0

    def draw(
        self,
        pipe,
        concept,
        prompt: str,
        *,
        plain: str | None = None,
        count: int = 1,
        steps: int = 50,
        generator=None,
        resolution=None,
    ):
        """Pictures (PIL) of `prompt`, which names the concept as any prompt does.

        Args:
            pipe: a pipeline that the concept is not attached to; it is left as it was.
            concept: a `Concept`.
            plain: the prompt without the concept, e.g. "a cat" of "a ktn style of a cat"; by default with the class
                word in the concept's place.
        """
        from .. import backbones
        from ..functional.fusion import reward_guidance
        from .sampling import ddim, noise_of, texts

        host = backbones.of(pipe)
        plain = plain or prompt.replace(concept.phrase, concept.noun).replace(concept.token, concept.noun)
        stock = host.private_clone()
        stock_texts = texts(stock, [""] * count + [plain] * count)
        with concept.attach(pipe):
            own_texts = texts(host, [prompt] * count)

            def predict(latents, t, alpha, before):
                empty, reference = noise_of(stock, latents.repeat(2, 1, 1, 1), t, stock_texts).chunk(2)
                personal = noise_of(host, latents, t, own_texts)
                return latents, reward_guidance(empty, reference, personal, self.text, self.concept)

            return ddim(host, predict, count, steps=steps, generator=generator, resolution=resolution)
