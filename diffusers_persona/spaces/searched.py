"""A word in few coordinates, for searches that can't use gradients.

Source: Fei et al., Gradient-Free Textual Inversion, arXiv 2304.05818.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from ..errors import PersonaError
from .base import Learner, Subject

NOUNS = Path(__file__).with_name("nouns.txt")
PROJECTIONS = ("principal", "nouns", "normal")
SENTENCES = ("a photo of a {}", "a good photo of a {}", "a close-up photo of a {}", "a rendition of a {}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchedWord:
    """v = v0 + z M: a word of one vector in coordinates z, from a start that a CLIP reads out of the pictures.

    The start is a mean of the embeddings of class words, weighted by how a CLIP sees the pictures. The concept is a
    `Word`.

    Attributes:
        dimensions: of z.
        projection: the map M: ``"principal"`` directions of the token table, scaled by its spread along each; the same
            of the ``"nouns"``' embeddings; or a ``"normal"`` random matrix that gives the table's deviation.
        nouns: class words of the start: ``"nouns"`` (our own list), ``"toybox"``, or the words themselves.
        sharpness: factor of the CLIP's similarities before their softmax.
        clip: the CLIP, see `encoders.clip.image_features`; None for the one that belongs to the host.
        vectors: 1.
        name, part, token: as of `Word`.
    """

    kind: ClassVar[str] = "word"
    adds_token: ClassVar[bool] = True
    trains_text: ClassVar[bool] = True

    dimensions: int = 256
    projection: str = "principal"
    nouns: str | tuple[str, ...] = "nouns"
    sharpness: float = 1.0
    clip: str | None = None
    vectors: int = 1
    name: str = ""
    part: int | str | None = None
    token: str | None = None

    def __post_init__(self):
        if self.dimensions < 1 or self.vectors != 1 or self.projection not in PROJECTIONS:
            raise PersonaError(
                f"SearchedWord(dimensions={self.dimensions}, vectors={self.vectors}, projection={self.projection!r}): "
                f"give at least 1 dimension, 1 vector, and one of {', '.join(PROJECTIONS)}"
            )

    def prepare(self, host, subject: Subject) -> Learner:
        """One parameter, the coordinates [dimensions] that all text encoders share."""
        import torch
        from torch import nn

        from .written import written

        coordinates = nn.Parameter(torch.zeros(self.dimensions))
        starts = self._starts(host, subject)
        maps = {name: self._map(host, name, subject.seed + i) for i, name in enumerate(host.text_encoders)}

        def write(pictures):
            return {name: starts[name] + coordinates[: len(maps[name])] @ maps[name] for name in maps}

        return written(host, subject, self, parameters={"coordinates": coordinates}, initial=starts, write=write)

    def _map(self, host, name, seed):
        """M [at most dimensions, d]."""
        import torch

        from ..functional.initialisation import principal_map

        table = _table(host.text_encoders[name])
        if self.projection == "normal":
            random = torch.Generator().manual_seed(seed)
            return torch.randn(self.dimensions, table.shape[1], generator=random) * table.std() / self.dimensions**0.5
        rows = table if self.projection == "principal" else self._tokens(host, name, class_words(self.nouns))
        return principal_map(rows, self.dimensions)

    def _tokens(self, host, name, words):
        """The mean token embedding of each word, [C, d]."""
        import torch

        table, tokenizer = _table(host.text_encoders[name]), host.tokenizers[name]
        return torch.stack([table[tokenizer(w, add_special_tokens=False)["input_ids"]].mean(0) for w in words])

    def _starts(self, host, subject) -> dict:
        """Text encoder's name -> v0 [1, d]."""
        import torch
        import torch.nn.functional as F

        from ..encoders.clip import image_features
        from ..functional.initialisation import attended_embedding

        clip, words = image_features(host, self.clip), class_words(self.nouns)
        with torch.no_grad():
            images = F.normalize(clip.images(subject.pictures.pixels(subject.resolution)), dim=-1).cpu()
        seen = clip.texts([sentence.format(word) for word in words for sentence in SENTENCES]).cpu()
        sentences = F.normalize(F.normalize(seen, dim=-1).view(len(words), len(SENTENCES), -1).mean(1), dim=-1)
        return {
            name: attended_embedding(images, sentences, self._tokens(host, name, words), self.sharpness)[None]
            for name in host.text_encoders
        }


def _table(encoder):
    return encoder.get_input_embeddings().weight.detach().float().cpu()


def class_words(which) -> tuple[str, ...]:
    """Words for kinds of things.

    Args:
        which: ``"nouns"`` (our own list of things and animals), ``"toybox"`` (the things of the miniature world), or
            the words themselves.

    Raises:
        PersonaError: for an unknown list.
    """
    if which == "nouns":
        return tuple(NOUNS.read_text(encoding="utf-8").splitlines())
    if which == "toybox":
        from ..toybox.vocabulary import NOUNS as things

        return tuple(things)
    if isinstance(which, str) or not which:
        raise PersonaError(f"nouns={which!r}: give 'nouns', 'toybox', or a tuple of words")
    return tuple(which)
