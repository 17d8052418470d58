"""Losses that hold a new word against its class word: in the embeddings, and in what the words around it mean."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Anchor:
    """The input embeddings of a prompt stay near those with the class word in place of the concept's.

    The mean squared difference over all L positions of a prompt; it differs from 0 at the concept's vectors alone, so
    that it is sum |v_i - c|^2 / (L d).

    Source: Zhang et al., Compositional Inversion, arXiv 2312.08048, semantic inversion.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 0.95

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar: the sum over words and text encoders."""
        host, total = step.host, step.prediction.new_zeros(())
        for learner, part in _words(step):
            for name, encoder in host.text_encoders.items():
                tokenizer = host.tokenizers[name]
                vectors, table = learner.parameters[f"{name}.embedding"], encoder.get_input_embeddings().weight
                ids = tokenizer(part.noun, add_special_tokens=False)["input_ids"]
                wanted = table[ids] if len(ids) == len(vectors) else table[ids].mean(0, keepdim=True)
                difference = (vectors - wanted.detach().to(vectors)).pow(2).sum()
                total = total + difference / (tokenizer.model_max_length * vectors.shape[1])
        return self.weight * total


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContextEmbedding:
    """The words around the concept mean what they mean around its class word: mean of 1 - cos of the text states.

    Source: Wu et al., CoRe, arXiv 2408.15914, context embedding regularisation. One context is drawn a step.

    Attributes:
        contexts: templates with ``{phrase}`` once.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.5e-4
    contexts: tuple[str, ...] = ()

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        import torch.nn.functional as F

        pair = _Pair(step, self.contexts)
        own, usual = step.encode([pair.prompt]), step.encode([pair.usual])
        states = (c["encoder_hidden_states"][0].float() for c in (own, usual))
        own, usual = pair.aligned(*states)
        return self.weight * (1.0 - F.cosine_similarity(own, usual.detach(), dim=-1)).mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContextAttention:
    """The words around the concept look where they look around its class word.

    The sum of squared differences of the mean cross-attention maps, over the number of other positions.

    Source: Wu et al., CoRe, arXiv 2408.15914, context attention regularisation. It takes two more passes of the
    denoiser, on the step's noisy latents.

    Attributes:
        contexts: templates with ``{phrase}`` once; the one of the step is `ContextEmbedding`'s.
    """

    needs: ClassVar[tuple[str, ...]] = ("attention",)

    weight: float = 0.05
    contexts: tuple[str, ...] = ()

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar: the mean over the concept's rows."""
        import torch

        pair, rows = _Pair(step, self.contexts), slice(0, step.concept_rows)
        own = self._maps(step, [pair.prompt] * step.concept_rows, rows)
        with torch.no_grad():
            usual = self._maps(step, [pair.usual] * step.concept_rows, rows)
        own, usual = pair.aligned(own, usual)
        return self.weight * (own - usual).pow(2).sum((0, 2)).mean() / len(own)

    def _maps(self, step, prompts, rows):
        """The mean map of each position, [L, B, h * w]."""
        _, view = step.attend(step.noisy[rows], step.timesteps[rows], step.encode(prompts))
        return view.whole().float().flatten(1, 2).permute(2, 0, 1)


class _Pair:
    """A context with the concept, and the same with its class word."""

    def __init__(self, step: Step, contexts: tuple[str, ...]):
        import torch

        part = step.subject.parts[0]
        random = torch.Generator().manual_seed(step.subject.seed * 1_000_003 + step.number)
        template = contexts[int(torch.randint(len(contexts), (), generator=random))]
        self.prompt, self.usual = template.format(phrase=part.token), template.format(phrase=part.noun)
        known = step.world.memory.setdefault("pairs", {})
        if self.prompt not in known:
            own, length = step.positions(self.prompt, part.token), len(step.positions(part.noun, part.noun))
            known[self.prompt] = own, list(range(own[0], own[0] + length))
        self.places = known[self.prompt]

    def aligned(self, own: Tensor, usual: Tensor) -> tuple[Tensor, Tensor]:
        """Both [L, ...] without the positions of the concept and of the class word, of one length."""
        kept = []
        for tensor, places in zip((own, usual), self.places):
            others = [i for i in range(len(tensor)) if i not in places]
            kept.append(others[: len(tensor) - max(map(len, self.places))])
        return own[kept[0]], usual[kept[1]]


def _words(step: Step):
    """Each learner of a word, and the thing that it stands for."""
    return zip(step.learners.get("word", ()), step.subject.parts)
