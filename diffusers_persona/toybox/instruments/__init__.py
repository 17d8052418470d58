"""The instruments of the toybox: models of the world that judge pictures of it. `load()` gives them all.

They are trained on rendered pictures; `describe()` shows how right each is on rendered pictures it never saw. They
know this world alone: on a photograph their answers mean nothing.
"""

import json
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from diffusers_persona.errors import PersonaError

if TYPE_CHECKING:
    import torch
    from PIL import Image

__all__ = ["FOLDER", "MODELS", "Instruments", "load"]

FOLDER = Path(__file__).resolve().parent.parent / "models"
MODELS = {
    "attributes": "toybox/attributes: ResNet (transformers.ResNetModel) with a linear head per attribute",
    "segmenter": "toybox/segmenter: diffusers.UNet2DModel, foreground logits",
    "dino": "toybox/dino: transformers.DINOv3ConvNextModel, last_hidden_state[:, 0], 256-d",
    "face": "toybox/face: ResNet (transformers.ResNetModel), 512-d, 56x56 (the 112x112 convention halved)",
    "clip": "toybox/clip: transformers.CLIPModel, 64x64 patch 8, 128-d",
}
"""Instrument -> model id, as reports print it. Each has a folder of that name in FOLDER."""
_WHOLE = "RGB, bicubic to 64x64, [-1, 1]"
PREPROCESSING = {
    "attributes": _WHOLE,
    "segmenter": _WHOLE,
    "dino": _WHOLE,
    "face": "RGB, bicubic to 64x64, head aligned by the segmenter's mask, bilinear to 56x56, [-1, 1]",
    "clip": _WHOLE,
}
BATCH = 64


def load(folder: str | Path | None = None) -> "Instruments":
    """The shipped instruments, or those of `folder`; each model is read when it is first asked for."""
    return _load(Path(folder or FOLDER))


@lru_cache(maxsize=2)
def _load(folder: Path) -> "Instruments":
    return Instruments(folder)


class Instruments:
    """Scores of lists of PIL pictures (any mode and size; 64x64 RGB is what the models see).

    Everything is computed in fp32 without gradients, in batches; a picture's scores do not depend on its neighbours.
    Vectors have unit length, so that a dot product is a cosine.
    """

    models = MODELS
    preprocessing = PREPROCESSING

    def __init__(self, folder: Path):
        self.folder = folder

    def clip_image(self, images: Sequence["Image.Image"]) -> "torch.Tensor":
        """[N, 128] unit vectors of pictures, comparable with `clip_text` and with each other."""
        return self._unit(images, lambda pixels: self._clip.get_image_features(pixel_values=pixels).pooler_output)

    def clip_text(self, texts: Sequence[str]) -> "torch.Tensor":
        """[N, 128] unit vectors of captions (cut off after 32 tokens)."""
        import torch
        from torch.nn import functional as F

        vectors = []
        with torch.no_grad():
            for start in range(0, len(texts), BATCH):
                tokens = self._tokenizer(
                    list(texts[start : start + BATCH]),
                    padding="max_length",
                    truncation=True,
                    max_length=32,
                    return_tensors="pt",
                )
                vectors.append(self._clip.get_text_features(**tokens).pooler_output)
        return F.normalize(torch.cat(vectors), dim=-1)

    def dino(self, images: Sequence["Image.Image"]) -> "torch.Tensor":
        """[N, 256] unit vectors of pictures: near for the same subject, whatever the background."""
        return self._unit(images, lambda pixels: self._dino(pixels).last_hidden_state[:, 0])

    def face(self, images: Sequence["Image.Image"]) -> "torch.Tensor":
        """[N, 512] unit identity vectors of portraits; the head is found through `mask`."""
        from .geometry import align_face

        pictures = [_as_rgb(image) for image in images]
        crops = [
            align_face(picture, mask) for picture, mask in zip(pictures, self._mask_images(pictures), strict=True)
        ]
        return self._unit(crops, self._face, resize=False)

    def face_found(self, images: Sequence["Image.Image"]) -> list[bool]:
        """Whether the mask holds somebody whose head `face` can align: three pixels in some row."""
        return [bool(found) for found in ((self.mask(images) > 0.5).sum(dim=2) >= 3).any(dim=1)]

    def feature_maps(self, images: Sequence["Image.Image"]) -> list["torch.Tensor"]:
        """[N, channels, height, width] of each stage of the DINO network, for perceptual distances."""
        import torch

        with torch.no_grad():
            states = [
                self._dino(_to_pixels(images[start : start + BATCH], True), output_hidden_states=True).hidden_states
                for start in range(0, len(images), BATCH)
            ]
        return [torch.cat(layer).float() for layer in zip(*states, strict=True)][1:]

    def mask(self, images: Sequence["Image.Image"]) -> "torch.Tensor":
        """[N, 64, 64] probability that a pixel belongs to the subject or subjects."""
        import torch

        from .segmenter import foreground_logits

        return self._batched(images, lambda pixels: torch.sigmoid(foreground_logits(self._segmenter, pixels)[:, 0]))

    def foreground(self, images: Sequence["Image.Image"], noun: str = "") -> list["Image.Image"]:
        """The subjects alone, 64x64: background filled with gray 128, cut to a square around the mask.

        Masked metrics are the metrics of these: `dino(foreground(images))`. The segmenter finds whatever is in front,
        and asks for no `noun`.
        """
        from .geometry import foreground

        pictures = [_as_rgb(image) for image in images]
        return [foreground(picture, mask) for picture, mask in zip(pictures, self._mask_images(pictures), strict=True)]

    def attributes(self, images: Sequence["Image.Image"]) -> dict[str, tuple[list[str], "torch.Tensor"]]:
        """Head -> (names of its classes, probabilities [N, classes]).

        Heads: noun and attribute (several may be true, each probability stands alone); background, colour (of a
        recoloured single object), style, person, hair, relation and first (of the classes of `attributes.HEADS`).
        Class "none" of style, person and relation means a plain picture, nobody with a name, a single thing.
        """
        import torch

        from .attributes import MULTIPLE

        network, names = self._attributes, self._attributes.config["heads"]
        logits = self._batched(images, lambda pixels: torch.cat(list(network(pixels).values()), dim=1))
        parts = logits.split([len(classes) for classes in names.values()], dim=1)
        return {
            head: (list(classes), part.sigmoid() if head in MULTIPLE else part.softmax(dim=1))
            for (head, classes), part in zip(names.items(), parts, strict=True)
        }

    def describe(self) -> dict:
        """Model ids, preprocessing, and the measured bars of `instruments.json` beside the models."""
        path = self.folder / "instruments.json"
        if not path.is_file():
            raise PersonaError(
                f"no measured bars at {path}: run `python -m diffusers_persona.toybox.build --stage instruments`"
            )
        return {"models": dict(MODELS), "preprocessing": dict(PREPROCESSING), "bars": json.loads(path.read_text())}

    def _unit(self, images, forward: Callable, *, resize: bool = True) -> "torch.Tensor":
        from torch.nn import functional as F

        return F.normalize(self._batched(images, forward, resize=resize), dim=-1)

    def _batched(self, images, forward: Callable, *, resize: bool = True) -> "torch.Tensor":
        import torch

        if not len(images):
            raise PersonaError("the toybox instruments got no pictures: pass a list of at least one PIL image")
        outputs = []
        with torch.no_grad():
            for start in range(0, len(images), BATCH):
                outputs.append(forward(_to_pixels(images[start : start + BATCH], resize)).float())
        return torch.cat(outputs)

    def _mask_images(self, pictures: list["Image.Image"]) -> list["Image.Image"]:
        from PIL import Image

        values = (self.mask(pictures) * 255).round().byte().numpy()
        return [Image.fromarray(value) for value in values]

    @cached_property
    def _attributes(self):
        from .networks import AttributeNetwork

        return AttributeNetwork.from_pretrained(self.folder / "attributes")

    @cached_property
    def _face(self):
        from .networks import FaceNetwork

        return FaceNetwork.from_pretrained(self.folder / "face")

    @cached_property
    def _segmenter(self):
        from diffusers import UNet2DModel

        return _stock(UNet2DModel, self.folder / "segmenter")

    @cached_property
    def _dino(self):
        from transformers import DINOv3ConvNextModel

        return _stock(DINOv3ConvNextModel, self.folder / "dino")

    @cached_property
    def _clip(self):
        from transformers import CLIPModel

        return _stock(CLIPModel, self.folder / "clip")

    @cached_property
    def _tokenizer(self):
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(self.folder / "clip")


def _stock(cls, folder: Path):
    """A stock model from `folder`, stored as fp16, as fp32 for inference."""
    if not (folder / "config.json").is_file():
        raise PersonaError(f"no {cls.__name__} in {folder}: reinstall the package or build the toybox")
    return cls.from_pretrained(folder, local_files_only=True).float().eval()


def _as_rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    picture = image.convert("RGB")
    return picture if picture.size == (64, 64) else picture.resize((64, 64), Image.Resampling.BICUBIC)


def _to_pixels(images, resize: bool) -> "torch.Tensor":
    import numpy as np
    import torch

    from .augmentation import to_pixels

    pictures = [np.asarray(_as_rgb(image) if resize else image) for image in images]
    return to_pixels(torch.from_numpy(np.stack(pictures)))
