"""The prompt spectrum: a word with an embedding of its own for every stage of the denoising.

Source: Zhang et al., ProSpect: Prompt Spectrum for Attribute-Aware Personalization of Diffusion Models, arXiv
2305.16225, section 4.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
    """A word whose vectors, one a stage, a small network makes of the first one.

    Stage 0 is the least noise (material, style), the last one the most (layout).

    Attributes:
        stages: number n of stages.
        heads, head_width: of the network's attention.
        dropout: of the network, in learning.
        init: word to begin with, as of `Word`; empty for the class word.
        use: which stages of the learned word act in use, e.g. ``(0, 1, 2)`` for material and style alone; the word is
            the class word in the others. Empty for all.
        name, part: as of `Word`.
        token: the word; None for the concept's own token.
    """

    kind: ClassVar[str] = "stages"
    adds_token: ClassVar[bool] = True
    trains_text: ClassVar[bool] = True

    stages: int = 10
    heads: int = 8
    head_width: int = 64
    dropout: float = 0.1
    init: str = ""
    use: tuple[int, ...] = ()
    name: str = ""
    part: int | str | None = None
    token: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "use", tuple(self.use))
        if self.stages < 1 or not 0.0 <= self.dropout < 1.0:
            raise PersonaError(f"Stages(stages={self.stages}, dropout={self.dropout}): at least one, and below 1")
        if not set(self.use) <= set(range(self.stages)):
            raise PersonaError(f"Stages(use={self.use}): stages are numbered from 0 to {self.stages - 1}")

    def prepare(self, host, subject: Subject) -> Learner:
        """The network's weights as parameters, and the first vector as a constant."""
        from torch import nn

        from .late_text import install
        from .late_words import Draws, StageWord
        from .word import Word

        draws = Draws(subject.seed)
        learner, words = Learner(parameters={}, follow=draws.follow), {}
        first = Word(init="text", text=self.init) if self.init else Word(part=self.part)
        for i, (name, encoder) in enumerate(host.text_encoders.items()):
            initial = first.initial(encoder, host.tokenizers[name], subject, subject.seed)
            network = self._network(initial.shape[1], subject.seed + i)
            parameters = {key: nn.Parameter(value.to(host.device)) for key, value in network.items()}
            learner.parameters |= {f"{name}.{key}": p for key, p in parameters.items()}
            learner.constants[f"{name}.initial"] = initial
            first_vector = initial[0].to(host.device)
            words[name] = StageWord(parameters, first_vector, self.stages, dropout=self.dropout, draws=draws)
        install(host, subject.word(self), words, Grip(key=()))
        return learner

    def attach(self, host, tensors, grip: Grip):
        """Adds the token; a scale s moves each vector from the initial one (s = 0) to the learned one (s = 1)."""
        from .late_text import Scaled, install
        from .late_words import StageWord

        words, use = {}, [n if not self.use or n in self.use else None for n in range(self.stages)]
        for name, encoder in host.text_encoders.items():
            own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
            self._check(own, name, encoder.get_input_embeddings().embedding_dim)
            words[name] = Scaled(StageWord(own, own["initial"][0], self.stages, use=use), own["initial"], grip)
        install(host, self.token, words, grip)

    def _network(self, width, seed):
        """Tensors by the official names, as torch's layers begin."""
        import torch
        from torch import nn

        from ..functional.stages import shapes

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = {}
            for key, shape in shapes(width, self.heads * self.head_width, self.stages).items():
                layer, _, kind = key.rpartition(".")
                if layer.startswith("norm"):
                    value = torch.ones(shape) if kind == "weight" else torch.zeros(shape)
                elif kind == "weight":
                    value = nn.Linear(*reversed(shape), bias=False).weight.data
                else:
                    bound = made[f"{layer}.weight"].shape[1] ** -0.5
                    value = torch.empty(shape).uniform_(-bound, bound)
                made[key] = value
        return made

    def _check(self, tensors, name, width):
        from ..functional.stages import shapes

        attention = tensors["attn1.to_v.weight"].shape[0] if "attn1.to_v.weight" in tensors else 0
        for key, shape in {"initial": (1, width), **shapes(width, attention, self.stages)}.items():
            found = tensors.get(key)
            if found is None or tuple(found.shape) != shape:
                present = "is missing" if found is None else f"has shape {tuple(found.shape)}"
                raise PersonaError(
                    f"word {self.token!r}: key '{name}.{key}' {present}, the host needs {shape}; attach the concept "
                    "to the kind of model that it was learned on"
                )
