"""Losses in the space of token embeddings: steering towards words, and away from other learned words."""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import TYPE_CHECKING, ClassVar

from ..errors import PersonaError
from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordSteering:
    """Pulls a new word towards words of its own sort (prepositions), and away from the other words of the caption.

    Words that a host's tokenizer splits are left out.

    Source: ReVersion, arXiv 2303.13495, relation-steering contrastive learning.

    Attributes:
        words: the sort of word that is wanted, e.g. `inversion.vocabulary.PREPOSITIONS`.
        neutral: words that count neither way (articles, pronouns, ...).
        positives: how many of `words` are drawn for each picture.
        temperature: of the contrast, > 0.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    words: tuple[str, ...]
    neutral: tuple[str, ...] = ()
    weight: float = 0.01
    positives: int = 4
    temperature: float = 0.07

    def __post_init__(self):
        if not self.words or self.positives < 1 or self.temperature <= 0:
            raise PersonaError("WordSteering: give words=, positives of at least 1 and a temperature above 0")

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar: the mean over the pictures, the sum over the text encoders."""
        losses = []
        for name, encoder in step.host.text_encoders.items():
            vectors = step.learners["word"][0].parameters[f"{name}.embedding"]
            table = encoder.get_input_embeddings().weight
            losses += [self._contrast(step, prompt, name, vectors, table) for prompt in step.prompts]
        return self.weight * sum(losses) / step.concept_rows

    def _contrast(self, step, prompt, name, vectors, table):
        import torch

        from ..functional.contrastive import steering

        memory, tokenizer = step.world.memory, step.host.tokenizers[name]
        if (self, name) not in memory:
            memory[self, name] = _whole_words(tokenizer, self.words)
        if (self, name, prompt) not in memory:
            own = [step.subject.token, *(part.token for part in step.subject.parts)]
            memory[self, name, prompt] = _content(tokenizer, prompt, {*self.words, *self.neutral}, own)
        wanted, others = memory[self, name], memory[self, name, prompt]
        if not wanted:
            raise PersonaError(
                f"the tokenizer of {name} splits each of {', '.join(self.words[:5])}, ...: set weight=0"
            )
        drawn = [wanted[i] for i in torch.randperm(len(wanted))[: self.positives]]
        pick = torch.tensor([*drawn, *others], device=table.device)
        rows = table[pick].detach().float()
        return steering(vectors, rows[: len(drawn)], rows[len(drawn) :], self.temperature)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Orthogonality:
    """Squared cosine between the concept's words, pair by pair: a spare word is to hold what the others do not.

    Source: BRAT, arXiv 2408.04785, the bonus token.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 0.01

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar: the sum over the pairs, the mean over the text encoders."""
        from ..functional.contrastive import squared_cosine

        words, names = step.learners["word"], list(step.host.text_encoders)
        if len(words) < 2:
            raise PersonaError("Orthogonality compares words: declare at least two, Word() and Word(name='spare')")
        pairs = [
            squared_cosine(first.parameters[f"{name}.embedding"], second.parameters[f"{name}.embedding"])
            for name in names
            for first, second in itertools.combinations(words, 2)
        ]
        return self.weight * sum(pairs) / len(names)


def _whole_words(tokenizer, words) -> list[int]:
    """The ids of those of `words` that are one token."""
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    return [found[0] for found in ids if len(found) == 1]


def _content(tokenizer, prompt, without, own) -> list[int]:
    """The token ids of the words of `prompt` that are neither `without` nor hold one of the learned words `own`."""
    words = [word for word in prompt.split() if not any(token in word for token in own)]
    words = [word for word in re.findall(r"\w+", " ".join(words).lower()) if word not in without]
    return [i for word in words for i in tokenizer(word, add_special_tokens=False)["input_ids"]]
