"""P+ space: a word with an embedding of its own for every block of the denoiser that reads the text.

Source: Voynov et al., P+: Extended Textual Conditioning in Text-to-Image Generation, arXiv 2303.09522, section 3.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPlus:
    """A word of several vectors, each with one value a layer.

    The layers are the host's blocks that read the text, in the order in which they run: 16 in SD 1.x. Where a text is
    read once for all layers (the pooled vector of SDXL, a ControlNet), the mean over the layers stands for them.

    Attributes:
        init: first value of each of the word's vectors, as of `Word`: ``"noun"``, ``"rare"`` or ``"random"``.
        deviation: of ``"random"`` vectors around zero; None for the token table's mean and deviation.
        most_norm: the vectors stop learning when their mean length reaches it; None for never.
        name: of a further word beside the concept's own, as of `Word`.
        part: number of the thing that the word stands for, as of `Word`.
        token: the word; None for the concept's own token.
    """

    kind: ClassVar[str] = "p_plus"
    adds_token: ClassVar[bool] = True
    trains_text: ClassVar[bool] = True

    init: tuple[str, ...] = ("noun",)
    deviation: float | None = None
    most_norm: float | None = None
    name: str = ""
    part: int | str | None = None
    token: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "init", (self.init,) if isinstance(self.init, str) else tuple(self.init))
        unknown = set(self.init) - {"noun", "rare", "random"}
        if not self.init or unknown:
            raise PersonaError(f"PPlus(init={self.init!r}): one of 'noun', 'rare' and 'random' for each vector")

    def prepare(self, host, subject: Subject) -> Learner:
        """One parameter [layers, vectors, d] a text encoder, and its initial value [vectors, d] as a constant."""
        from torch import nn

        from .late_text import install
        from .late_words import LayerWord

        learner, count = Learner(parameters={}), len(host.text_layers())
        for i, name in enumerate(host.text_encoders):
            initial = self.initial(host, name, subject, subject.seed + i)
            learner.constants[f"{name}.initial"] = initial
            learner.parameters[f"{name}.embedding"] = nn.Parameter(initial.repeat(count, 1, 1).to(host.device))
        words = {name: LayerWord(learner.parameters[f"{name}.embedding"]) for name in host.text_encoders}
        install(host, subject.word(self), words, Grip(key=()))
        if self.most_norm is not None:
            _stop_at(learner, self.most_norm)
        return learner

    def attach(self, host, tensors, grip: Grip):
        """Adds the token; a scale s moves each vector from its initial value (s = 0) to the learned one (s = 1)."""
        import torch

        from .late_text import Scaled, install
        from .late_words import LayerWord

        words, count = {}, len(host.text_layers())
        for name, encoder in host.text_encoders.items():
            learned, width = tensors.get(f"{name}.embedding"), encoder.get_input_embeddings().embedding_dim
            if learned is None or learned.ndim != 3 or learned.shape[::2] != (count, width):
                shape = "no tensor" if learned is None else f"shape {tuple(learned.shape)}"
                raise PersonaError(
                    f"word {self.token!r}: key '{name}.embedding' has {shape}, the host needs [{count}, n, {width}]: "
                    "one embedding a layer; attach the concept to the kind of model that it was learned on"
                )
            initial = tensors.get(f"{name}.initial")
            words[name] = Scaled(
                LayerWord(learned), torch.zeros_like(learned[0]) if initial is None else initial, grip
            )
        install(host, self.token, words, grip)

    def initial(self, host, name, subject, seed):
        import torch

        from .word import Word

        def row(n, init):
            word = Word(init=init, deviation=self.deviation if init == "random" else None, part=self.part)
            return word.initial(host.text_encoders[name], host.tokenizers[name], subject, seed + n)

        return torch.cat([row(n, init) for n, init in enumerate(self.init)])


def _stop_at(learner: Learner, most: float):
    """Lets `learner` keep its vectors once their mean length is `most`."""
    before = {}

    def follow(batch, timesteps):
        before.update({name: p.detach().clone() for name, p in learner.parameters.items()})

    def constrain():
        for name, parameter in learner.parameters.items():
            if before[name].norm(dim=-1).mean() >= most:
                parameter.data.copy_(before[name])

    learner.follow, learner.constrain = follow, constrain
