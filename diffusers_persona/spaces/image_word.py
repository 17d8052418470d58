"""A word that a network makes of the concept's picture; the network is made anew and learned with each concept.

Source: Wu et al., SingleInsert, arXiv 2310.08094, section 3.2.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageWord:
    """A word of one vector: what a vision transformer says of the picture without its background.

    The transformer has the shape of CLIP's and a random start; it is what learns, and the concept is a `Word`.

    Attributes:
        side, patch: sides of its picture and of a patch, in pixels.
        width, layers, heads: of the transformer; its feed-forward layers are four times as wide.
        vectors: 1.
        name, part, token: as of `Word`.
    """

    kind: ClassVar[str] = "word"
    adds_token: ClassVar[bool] = True
    trains_text: ClassVar[bool] = True

    side: int = 224
    patch: int = 32
    width: int = 768
    layers: int = 12
    heads: int = 12
    vectors: int = 1
    name: str = ""
    part: int | str | None = None
    token: str | None = None

    def __post_init__(self):
        if self.vectors != 1 or self.side % self.patch or self.width % self.heads:
            raise PersonaError(
                f"ImageWord(side={self.side}, patch={self.patch}, width={self.width}, heads={self.heads}, "
                f"vectors={self.vectors}): patches fill the side, heads the width, and there is 1 vector"
            )

    def prepare(self, host, subject: Subject) -> Learner:
        """The network's weights as parameters; exports the words of all text encoders."""
        import torch

        from ..encoders.mapper import seeded
        from ..encoders.pixels import pixels_of, resized
        from .word import Word
        from .written import named_parameters, written

        pictures = torch.cat([resized(pixels_of(_alone(example)), self.side) for example in subject.pictures])
        widths = {name: e.get_input_embeddings().embedding_dim for name, e in host.text_encoders.items()}
        network = seeded(subject.seed, lambda: self._network(sum(widths.values())))

        def write(chosen):
            seen = pictures if chosen is None else pictures[sorted(set(chosen))]
            words = network(pixel_values=seen).image_embeds.mean(0, keepdim=True)
            return dict(zip(widths, words.split(list(widths.values()), dim=1)))

        noun = Word(part=self.part)
        initial = {
            name: noun.initial(encoder, host.tokenizers[name], subject, subject.seed)
            for name, encoder in host.text_encoders.items()
        }
        parameters = named_parameters({"network": network})
        return written(host, subject, self, parameters=parameters, initial=initial, write=write)

    def _network(self, dimensions: int):
        """[N, 3, side, side] -> an output with ``image_embeds`` [N, dimensions]."""
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        config = CLIPVisionConfig(
            image_size=self.side,
            patch_size=self.patch,
            hidden_size=self.width,
            intermediate_size=4 * self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            projection_dim=dimensions,
        )
        return CLIPVisionModelWithProjection(config)


def _alone(example):
    """The picture of an example in the box of its mask, black around the thing; the whole where there is no mask."""
    from PIL import Image

    box = None if example.mask is None else example.mask.point(lambda value: 255 if value > 127 else 0).getbbox()
    if box is None:
        return example.image
    return Image.composite(example.image, Image.new("RGB", example.image.size), example.mask).crop(box)
