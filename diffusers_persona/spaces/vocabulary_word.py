"""A word that is learned as a combination of known words, and then refined; what it leaves is an ordinary word.

Source: CusConcept, arXiv 2410.00398.
"""

from __future__ import annotations

import dataclasses

from ..errors import PersonaError
from .base import Grip, Learner, Subject
from .word import Word


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyWord(Word):
    """The normalised sum of known words; a small network gives each its weight in (0, 1) from its embedding.

    In the first phase the word is that sum. In further ones it is the mean of the sum and of a free vector, which
    begins there and is pulled back to it by the space's penalty (see `losses.OwnPenalty`). Both are as long as an
    average token embedding. Known words that a tokenizer splits are left out.

    Attributes:
        words: the known words.
        most: how many of them are used: those that CLIP finds in the pictures; None for all.
        take: how many count, those of the largest weights; None for all.
        explain: in the first phase, how many of the heaviest words should make the sum almost alone; 0 for no such
            penalty.
        explain_weight: its weight.
        anchor: weight of the free vector's squared distance from the sum, in the further phases.
        hidden: inner width of the network.
        clip: name of the CLIP (see `encoders.clip`); empty for the host's usual one.
    """

    words: tuple[str, ...] = ()
    most: int | None = None
    take: int | None = None
    explain: int = 0
    explain_weight: float = 0.001
    anchor: float = 1.0
    hidden: int = 512
    clip: str = ""

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "words", tuple(self.words))
        if self.vectors != 1:
            raise PersonaError(f"VocabularyWord(vectors={self.vectors}): a combination is one vector")

    def prepare(self, host, subject: Subject) -> Learner:
        """Parameters: for each text encoder the network's, and the free vector [1, d]."""
        import torch

        from ..encoders.vocabulary import WordSum
        from .tokens import ConceptTokens

        learner, word = Learner(parameters={}), subject.word(self)
        words = self._seen_words(host, subject)
        options = {key: getattr(self, key) for key in ("hidden", "take", "explain", "explain_weight", "anchor")}
        sums = {
            name: WordSum.of(encoder, host.tokenizers[name], words, name=name, seed=subject.seed + i, **options)
            for i, (name, encoder) in enumerate(host.text_encoders.items())
        }
        state = {"phase": 0}
        for name, each in sums.items():
            learner.parameters |= {f"{name}.{key}": p for key, p in each.named_parameters()}
            learner.constants[f"{name}.initial"] = each.row(0).detach().cpu().clone()
        self._install(host, word, {name: each.row(0).detach() for name, each in sums.items()}, Grip(key=()))

        def follow(batch, timesteps):
            for name, each in sums.items():
                ConceptTokens.of(host.tokenizers[name]).tables[word] = each.row(state["phase"])

        def constrain():
            if state["phase"] == 0:
                for each in sums.values():
                    each.free.data.copy_(each.sum().detach())

        learner.follow, learner.constrain = follow, constrain
        learner.enter = lambda phase: state.update(phase=phase)
        learner.penalty = lambda: torch.stack([each.penalty(state["phase"]) for each in sums.values()]).sum()
        learner.export = lambda: {f"{name}.embedding": each.row(state["phase"]) for name, each in sums.items()}
        return learner

    def _seen_words(self, host, subject) -> tuple[str, ...]:
        """The words that are used, the likeliest first where the pictures choose."""
        if self.most is None or self.most >= len(self.words):
            return self.words
        import torch
        from torch.nn.functional import normalize

        from ..encoders.clip import image_features
        from .tokens import pieces

        features = image_features(host, self.clip or None)
        known = [w for w in self.words if any(len(pieces(t, w)) == 1 for t in host.tokenizers.values())]
        with torch.no_grad():
            pixels = subject.pictures.pixels(subject.resolution).to(host.device)
            seen = normalize(features.images(pixels).float(), dim=-1).mean(0)
            named = normalize(features.texts([f"a photo of a {word}" for word in known]).float(), dim=-1)
        order = (named.to(seen) @ seen).argsort(descending=True)[: self.most]
        return tuple(known[i] for i in order.tolist())
