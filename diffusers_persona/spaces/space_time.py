"""P* space: a word that a small network makes of timestep and layer, with a bypass around the text encoder.

Source: Alaluf et al., A Neural Space-Time Representation for Text-to-Image Personalization, arXiv 2305.15391,
sections 4.1 (mapper), 4.2 (nested dropout) and 4.3 (textual bypass).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpaceTime:
    """NeTI's mapper.

    Attributes:
        frequencies: number m of random frequencies of the positional encoding.
        sigma_time, sigma_layer: deviations of the frequencies.
        anchors: evenly spaced times whose encodings, at each layer, the input layer begins with.
        hidden: width h of the mapper.
        nested_dropout: probability that a learning pass keeps only the first units of the hidden representation.
        bypass: alpha of the textual bypass; 0 for none.
        keep: hidden units that act in use, None for all h: fewer make the concept easier to edit.
        name, part: as of `Word`.
        token: the word; None for the concept's own token.
    """

    kind: ClassVar[str] = "space_time"
    adds_token: ClassVar[bool] = True
    trains_text: ClassVar[bool] = True

    frequencies: int = 1024
    sigma_time: float = 0.03
    sigma_layer: float = 2.0
    anchors: int = 10
    hidden: int = 128
    nested_dropout: float = 0.5
    bypass: float = 0.2
    keep: int | None = None
    name: str = ""
    part: int | str | None = None
    token: str | None = None

    def __post_init__(self):
        if not 0.0 <= self.nested_dropout < 1.0 or self.bypass < 0.0:
            raise PersonaError(
                f"SpaceTime(nested_dropout={self.nested_dropout}, bypass={self.bypass}): a probability below 1, and "
                "a factor of 0 or more"
            )
        if self.keep is not None and not 1 <= self.keep <= self.hidden:
            raise PersonaError(f"SpaceTime(keep={self.keep}): between 1 and the {self.hidden} hidden units, or None")

    def prepare(self, host, subject: Subject) -> Learner:
        """The mapper's layers as parameters, its frequencies, the class word and its length as constants."""
        from torch import nn

        from .late_text import install
        from .late_words import Draws, MappedWord
        from .word import Word

        draws = Draws(subject.seed)
        learner, words = Learner(parameters={}, follow=draws.follow), {}
        for i, (name, encoder) in enumerate(host.text_encoders.items()):
            initial = Word(part=self.part).initial(encoder, host.tokenizers[name], subject, subject.seed)
            parameters, frequencies = self._mapper(initial.shape[1], len(host.text_layers()), subject.seed + i)
            parameters = {key: nn.Parameter(value.to(host.device)) for key, value in parameters.items()}
            norm = initial.norm()
            learner.parameters |= {f"{name}.{key}": p for key, p in parameters.items()}
            learner.constants |= {f"{name}.initial": initial, f"{name}.frequencies": frequencies, f"{name}.norm": norm}
            words[name] = MappedWord(
                parameters,
                frequencies.to(host.device),
                norm.to(host.device),
                len(host.text_layers()),
                bypass=self.bypass,
                dropout=self.nested_dropout,
                draws=draws,
            )
        install(host, subject.word(self), words, Grip(key=()))
        return learner

    def attach(self, host, tensors, grip: Grip):
        """Adds the token; a scale s moves the word from its class word (s = 0) to the learned one (s = 1)."""
        import torch

        from .late_text import Scaled, install
        from .late_words import MappedWord

        words, layers = {}, len(host.text_layers())
        for name, encoder in host.text_encoders.items():
            own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
            width = encoder.get_input_embeddings().embedding_dim
            self._check(own, name, width)
            word = MappedWord(own, own["frequencies"], own["norm"], layers, bypass=self.bypass, keep=self.keep)
            initial = own.get("initial")
            words[name] = Scaled(word, torch.zeros(1, width) if initial is None else initial, grip)
        install(host, self.token, words, grip)

    def _mapper(self, width, layers, seed):
        """Parameters of the mapper by the official names, and the frequencies [m, 2]."""
        import torch
        from torch import nn

        from ..functional import space_time

        rows, out = self.anchors * layers, width * (2 if self.bypass else 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            frequencies = torch.randn(self.frequencies, 2) * torch.tensor([self.sigma_time, self.sigma_layer])
            modules = {
                "input_layer": nn.Linear(2 * self.frequencies, rows),
                "net.1": nn.Linear(rows, self.hidden),
                "net.2": nn.LayerNorm(self.hidden),
                "net.4": nn.Linear(self.hidden, self.hidden),
                "net.5": nn.LayerNorm(self.hidden),
                "output_layer.0": nn.Linear(self.hidden, out),
            }
        modules["input_layer"].weight.data = space_time.anchors(frequencies, self.anchors, layers)
        return {f"{n}.{key}": p.detach() for n, m in modules.items() for key, p in m.named_parameters()}, frequencies

    def _check(self, tensors, name, width):
        from ..functional.space_time import TRAINED

        out = width * (2 if self.bypass else 1)
        needed = ["frequencies", "norm", *(f"{n}.{kind}" for n in TRAINED for kind in ("weight", "bias"))]
        missing = next((key for key in needed if key not in tensors), None)
        weight = tensors.get("output_layer.0.weight")
        if missing or weight.ndim != 2 or len(weight) != out:
            found = f"key '{name}.{missing}' is missing" if missing else f"the mapper makes {tuple(weight.shape)[:1]}"
            raise PersonaError(
                f"word {self.token!r}: {found}, the host's {name} needs a mapper to {out} numbers; attach the concept "
                "to the kind of model that it was learned on"
            )
