"""Words that are moved away from one another once they are learned; what they leave are ordinary words."""

from __future__ import annotations

import dataclasses

from ..errors import PersonaError
from .base import Learner, Subject, named
from .word import Word


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpposedWord(Word):
    """One of two words of the same concept; in use its vectors e are e + away (e - e'), where e' are the other's.

    Position embeddings fall out of the difference, so that token embeddings alone say it.

    Source: U-VAP, arXiv 2403.20231, semantic adjustment.

    Attributes:
        away: how far; 0 for an ordinary word.
    """

    away: float = 0.5

    def prepare(self, host, subject: Subject) -> Learner:
        """As of an ordinary word; the concept gets the vectors that were moved."""
        learner = super().prepare(host, subject)
        word = subject.word(self)
        others = [named(part.token, self.name) for part in subject.parts if named(part.token, self.name) != word]
        if len(others) > 1:
            raise PersonaError(f"OpposedWord knows one other word, and the concept has {', '.join(others)}; learn two")
        if others and self.away:
            learner.export = lambda: self._moved(host, learner, others[0])
        return learner

    def _moved(self, host, learner, other):
        from .tokens import ConceptTokens

        moved = {}
        for name in host.text_encoders:
            own, opposite = (
                learner.parameters[f"{name}.embedding"],
                ConceptTokens.of(host.tokenizers[name]).tables[other],
            )
            moved[f"{name}.embedding"] = own + self.away * (own - opposite)
        return moved
