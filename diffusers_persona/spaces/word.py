"""Word space: the concept is one or several new rows of the text encoders' token embeddings.

Source: Gal et al., Textual Inversion, arXiv 2208.01618, equation 2 (the embedding v* is all that is optimised).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject

RARE_WORDS = ("sks", "ktn", "pll", "ucd", "hta", "zwx")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Word:
    """New words.

    Attributes:
        vectors: embedding vectors (positions in the prompt) a token; >= 1.
        init: first value of each vector: ``"noun"`` (the class word; the mean of its tokens when it has several),
            ``"rare"`` (a word that is rare in captions), ``"text"`` (the words of `text`) or ``"random"`` (a normal
            variable with the table's mean and deviation), or ``"names"`` (two vectors: what the text encoder makes of
            a mean first and a mean last name).
        text: an ordinary word to begin with, for ``init="text"``.
        names: the list of names, for ``init="names"``: see `spaces.names`.
        deviation: of ``init="random"`` around zero, in place of the table's mean and deviation; None for these.
        keep_norm: whether each vector keeps the length of its first value in learning.
        name: of a further word beside the concept's own: ``"neg"`` makes ``"<toy-neg>"`` beside ``"<toy>"``, and
            templates may hold ``{neg}``.
        part: number of the thing that the word stands for, where several are learned from the same pictures;
            ``"each"`` in a recipe declares one such space for each of them.
        token: the word; None for the concept's own token.
    """

    kind: ClassVar[str] = "word"
    adds_token: ClassVar[bool] = True
    trains_text: ClassVar[bool] = True

    vectors: int = 1
    init: str = "noun"
    text: str = ""
    names: str | tuple[str, ...] = "celebrities"
    deviation: float | None = None
    keep_norm: bool = False
    name: str = ""
    part: int | str | None = None
    token: str | None = None

    def __post_init__(self):
        if self.vectors < 1:
            raise PersonaError(f"Word(vectors={self.vectors}): a word needs at least one vector")
        if self.init not in ("noun", "rare", "random", "text", "names"):
            raise PersonaError(f"Word(init={self.init!r}): choose 'noun', 'rare', 'text', 'random' or 'names'")
        if self.init == "names" and self.vectors != 2:
            raise PersonaError(f"Word(init='names', vectors={self.vectors}): a first and a last name are 2 vectors")
        if (self.init == "text") != bool(self.text):
            raise PersonaError(f"Word(init={self.init!r}, text={self.text!r}): text= goes with init='text'")

    def prepare(self, host, subject: Subject) -> Learner:
        """One parameter [vectors, d] a text encoder, and its initial value as a constant."""
        from torch import nn

        learner = Learner(parameters={}, constants={})
        for i, (name, encoder) in enumerate(host.text_encoders.items()):
            initial = self.initial(encoder, host.tokenizers[name], subject, subject.seed + i)
            learner.constants[f"{name}.initial"] = initial
            learner.parameters[f"{name}.embedding"] = nn.Parameter(initial.clone())
        vectors = {name: learner.parameters[f"{name}.embedding"] for name in host.text_encoders}
        self._install(host, subject.word(self), vectors, Grip(key=()))
        if self.keep_norm:
            learner.constrain = lambda: self._restore_norm(host, learner)
        return learner

    def _restore_norm(self, host, learner):
        import torch

        with torch.no_grad():
            for name in host.text_encoders:
                vectors, initial = learner.parameters[f"{name}.embedding"], learner.constants[f"{name}.initial"]
                vectors.mul_(initial.norm(dim=1, keepdim=True).to(vectors) / vectors.norm(dim=1, keepdim=True))

    def attach(self, host, tensors, grip: Grip):
        """Adds the token to the host's tokenizers and its vectors to the text encoders.

        A scale s moves each vector along the line from its initial value (s = 0) to the learned one (s = 1).
        """
        if grip.bus is not None:
            raise PersonaError(
                "a word cannot be limited to a window of the denoising: the prompt is encoded once, before it; "
                "attach without window=, or mix the token into another prompt"
            )
        import torch

        vectors = {}
        for name, encoder in host.text_encoders.items():
            learned = tensors.get(f"{name}.embedding")
            width = encoder.get_input_embeddings().embedding_dim
            if learned is None or learned.ndim != 2 or learned.shape[1] != width:
                shape = "no tensor" if learned is None else f"shape {tuple(learned.shape)}"
                raise PersonaError(
                    f"word {self.token!r}: key '{name}.embedding' has {shape}, the text encoder needs [n, {width}]; "
                    "attach the concept to the kind of model that it was learned on"
                )
            vectors[name] = learned.clone()

        def blend():
            for name, vector in vectors.items():
                learned, initial = tensors[f"{name}.embedding"], tensors.get(f"{name}.initial")
                start = torch.zeros_like(learned) if initial is None else initial
                vector.copy_(torch.lerp(start, learned, grip.scale))

        blend()
        grip.refreshes.append(blend)
        self._install(host, self.token, vectors, grip)

    def _install(self, host, token, vectors, grip: Grip):
        from .late_text import install

        install(host, token, vectors, grip)

    def initial(self, encoder, tokenizer, subject, seed):
        import torch

        table = encoder.get_input_embeddings().weight.detach().float().cpu()
        if self.init == "random":
            noise = torch.randn(self.vectors, table.shape[1], generator=torch.Generator().manual_seed(seed))
            if self.deviation is not None:
                return self.deviation * noise
            return table.mean(0) + table.std(0) * noise
        if self.init == "names":
            from .names import mean_name_output

            return mean_name_output(encoder, tokenizer, self.names)
        word = self._rare(tokenizer) if self.init == "rare" else self.text or subject.class_word(self)
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        if not ids:
            raise PersonaError(f"the tokenizer makes nothing of the class word {word!r}; give another noun=")
        return table[ids].mean(0, keepdim=True).repeat(self.vectors, 1)

    def _rare(self, tokenizer):
        """A rare word, another one for each of several things."""
        taken: list[str] = []
        for _ in range(self.part or 0):
            taken.append(rare_word(tokenizer, taken))
        return rare_word(tokenizer, taken)


def rare_word(tokenizer, taken=()) -> str:
    """A word that is one token of `tokenizer` and rare in captions, and none of those that are `taken`.

    Raises:
        PersonaError: when the tokenizer knows none of the usual ones.
    """
    from .tokens import pieces

    for word in RARE_WORDS:
        if word not in taken and len(pieces(tokenizer, word)) == 1:
            return word
    raise PersonaError(
        f"the tokenizer splits each of {', '.join(w for w in RARE_WORDS if w not in taken)}: "
        "name a rare single-token word with token="
    )
