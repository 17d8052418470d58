"""What a scorer needs of models: the protocols that a set of instruments fulfils, and the two sets there are.

`Instruments` is the least; the other protocols add metrics: a set that is a `Segmenter` gives masked ones, a
`FaceEncoder` identity, a `Classifier` obedience by attributes, `Perceptual` diversity.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from PIL import Image

Pictures = Sequence[Image.Image]


@runtime_checkable
class Instruments(Protocol):
    """Embeddings of pictures and of texts: arrays or tensors of float32, of any length, since cosines are taken."""

    models: Mapping[str, str]
    """Instrument -> id of its model, as reports print it."""
    preprocessing: Mapping[str, str]
    """Instrument -> what is done to a picture."""

    def clip_image(self, images: Pictures) -> Any:
        """[N, d], comparable with `clip_text`."""
        ...

    def clip_text(self, texts: Sequence[str]) -> Any:
        """[M, d]."""
        ...

    def dino(self, images: Pictures) -> Any:
        """[N, e]."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Finds the subject of a picture."""

    def foreground(self, images: Pictures, noun: str = "") -> list[Image.Image]:
        """The subjects alone, the rest filled; `noun` says what to look for, where the segmenter asks."""
        ...


@runtime_checkable
class FaceEncoder(Protocol):
    """Knows faces apart."""

    def face(self, images: Pictures) -> Any:
        """[N, d]; a row counts only where `face_found`."""
        ...

    def face_found(self, images: Pictures) -> Sequence[bool]:
        """Whether each picture shows a face."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """Names what a picture shows."""

    def attributes(self, images: Pictures) -> Mapping[str, tuple[Sequence[str], Any]]:
        """Attribute -> (names, probabilities [N, names])."""
        ...


@runtime_checkable
class Perceptual(Protocol):
    """Gives feature maps for distances between pictures."""

    def feature_maps(self, images: Pictures) -> list[Any]:
        """One tensor [N, channels, ...places] a layer."""
        ...
