"""A small network that makes a new word of known ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import PersonaError
from ..functional.vocabulary import combination, unexplained


class WordSum(nn.Module):
    """Weights of known words in (0, 1), each from the word's embedding: linear, ReLU, linear, sigmoid.

    Source: CusConcept, arXiv 2410.00398.

    Args:
        rows: the known words' embeddings, [k, d].
        norm: length of the word.
        hidden: inner width.
        take: how many words count, those of the largest weights; None for all.
        explain, explain_weight: how many of the heaviest words should make the sum almost alone, and how much that
            weighs; 0 for not.
        anchor: weight of the free vector's squared distance from the sum.
        seed: of the first weights.
    """

    rows: Tensor

    def __init__(
        self,
        rows: Tensor,
        norm: float,
        *,
        hidden: int,
        take,
        explain: int,
        explain_weight: float,
        anchor: float,
        seed: int,
    ):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(nn.Linear(rows.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.register_buffer("rows", rows, persistent=False)
        self.norm, self.take = norm, take
        self.explain, self.explain_weight, self.anchor = explain, explain_weight, anchor
        self.to(rows.device)
        self.free = nn.Parameter(self.sum().detach().clone())

    @classmethod
    def of(cls, encoder, tokenizer, words, *, name: str, **options) -> WordSum:
        """The network for the words that are one token of a text encoder's tokenizer.

        Raises:
            PersonaError: none of them is.
        """
        table = encoder.get_input_embeddings().weight.detach().float()
        ids = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
        known = list(dict.fromkeys(found[0] for found in ids if len(found) == 1))
        if not known:
            raise PersonaError(f"the tokenizer of {name} splits each of {', '.join(words[:5])}, ...: give other words")
        return cls(table[known].clone(), float(table.norm(dim=1).mean()), **options)

    def weights(self) -> Tensor:
        """Each known word's weight, [k]."""
        return self.net(self.rows).squeeze(1).sigmoid()

    def sum(self) -> Tensor:
        """The combination, [1, d]."""
        return combination(self.weights(), self.rows, self.norm, self.take)[None]

    def row(self, phase: int) -> Tensor:
        """The word, [1, d]: the combination in phase 0, then its mean with the free vector."""
        return self.sum() if phase == 0 else 0.5 * (self.sum() + self.free)

    def penalty(self, phase: int) -> Tensor:
        """What a few words leave unexplained in phase 0, then the squared distance of the free vector."""
        if phase:
            return self.anchor * (self.free - self.sum()).pow(2).sum()
        if not self.explain:
            return self.free.new_zeros(())
        return self.explain_weight * unexplained(self.weights(), self.rows, self.sum()[0], self.explain)
