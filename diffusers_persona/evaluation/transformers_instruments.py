"""Instruments of full size, from transformers: CLIP, and DINO or DINOv2; preprocessing in Pillow and torch alone.

    instruments = TransformersInstruments("openai/clip-vit-base-patch32", "facebook/dino-vits16")

A model is a local folder or a Hub id. What is done to a picture is written beside every number: the same model with
another resize or normalisation gives another scale.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from diffusers_persona.errors import PersonaError

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINO_TYPES = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit")
"""Model types whose class token, after the last norm, is the embedding: `last_hidden_state[:, 0]`."""
DINO_MARGIN = 256 / 224
"""DINO's evaluation resizes the shorter side to 256 before it cuts out 224."""
GREY = (128, 128, 128)
BATCH = 32
LAYERS = 4


class TransformersInstruments:
    """CLIP-I and CLIP-T from a CLIPModel, DINO-I and feature maps from a vision transformer with a class token.

    Args:
        clip: folder or Hub id of a `CLIPModel` with its tokenizer.
        dino: folder or Hub id of a `ViTModel` or a DINOv2 or v3 model.
        device: torch device to run on.
    """

    def __init__(self, clip: str, dino: str, *, device: str = "cpu"):
        self._clip_id, self._dino_id, self.device = clip, dino, device

    @cached_property
    def models(self) -> dict[str, str]:
        """Instrument -> id, class and a digest of its weights."""
        return {"clip": _told(self._clip_id, self._clip), "dino": _told(self._dino_id, self._dino)}

    @property
    def preprocessing(self) -> dict[str, str]:
        """Instrument -> what is done to a picture."""
        return {name: each.words for name, each in (("clip", self._clip_input), ("dino", self._dino_input))}

    masking = "none"

    def fingerprint(self) -> str:
        """Digest of models and preprocessing."""
        facts = json.dumps([self.models, self.preprocessing, self.masking], sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    def clip_image(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """[N, d] projected embeddings of pictures."""
        outputs = self._batches(images, self._clip_input, lambda pixels: self._clip.get_image_features(pixels))
        return torch.cat([output.pooler_output for output in outputs]).float().cpu()

    def clip_text(self, texts: Sequence[str]) -> torch.Tensor:
        """[M, d] projected embeddings of texts, cut off after the model's longest text."""
        length = self._clip.config.text_config.max_position_embeddings
        vectors = []
        with torch.no_grad():
            for start in range(0, len(texts), BATCH):
                tokens = self._tokenizer(
                    list(texts[start : start + BATCH]),
                    padding="max_length",
                    truncation=True,
                    max_length=length,
                    return_tensors="pt",
                ).to(self.device)
                vectors.append(self._clip.get_text_features(**tokens).pooler_output)
        return torch.cat(vectors).float().cpu()

    def dino(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """[N, e] class tokens after the last norm."""
        outputs = self._batches(images, self._dino_input, lambda pixels: self._dino(pixels))
        return torch.cat([output.last_hidden_state[:, 0] for output in outputs]).float().cpu()

    def feature_maps(self, images: Sequence[Image.Image]) -> list[torch.Tensor]:
        """[N, e, tokens] of up to four evenly spaced layers of the DINO model."""
        outputs = self._batches(images, self._dino_input, lambda pixels: self._dino(pixels, output_hidden_states=True))
        depth = len(outputs[0].hidden_states) - 1
        chosen = sorted({max(1, round(depth * (i + 1) / LAYERS)) for i in range(LAYERS)})
        return [
            torch.cat([output.hidden_states[i] for output in outputs]).transpose(1, 2).float().cpu() for i in chosen
        ]

    def _batches(self, images: Sequence[Image.Image], prepare: "Preprocessing", forward: Any) -> list[Any]:
        if not len(images):
            raise PersonaError("the instruments got no pictures: pass a list of at least one PIL image")
        with torch.no_grad():
            return [
                forward(torch.stack([prepare(image) for image in images[start : start + BATCH]]).to(self.device))
                for start in range(0, len(images), BATCH)
            ]

    @cached_property
    def _clip(self) -> Any:
        from transformers import CLIPModel

        return _load(CLIPModel, self._clip_id, "--clip", ("clip",)).to(self.device)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import CLIPTokenizer

        return _load(CLIPTokenizer, self._clip_id, "--clip")

    @cached_property
    def _dino(self) -> Any:
        from transformers import AutoModel

        return _load(AutoModel, self._dino_id, "--dino", DINO_TYPES).to(self.device)

    @cached_property
    def _clip_input(self) -> "Preprocessing":
        side = self._clip.config.vision_config.image_size
        return Preprocessing(side, side, CLIP_MEAN, CLIP_STD)

    @cached_property
    def _dino_input(self) -> "Preprocessing":
        patch, size = self._dino.config.patch_size, self._dino.config.image_size
        side = 224 if size > 224 and 224 % patch == 0 else size  # DINOv2's config names the size of its training's end
        return Preprocessing(side, round(side * DINO_MARGIN), IMAGENET_MEAN, IMAGENET_STD)


class MaskingInstruments(TransformersInstruments):
    """The same with masked metrics: a CLIPSeg model finds what the class noun names.

    Args:
        clip, dino, device: see `TransformersInstruments`.
        segmenter: folder or Hub id of a `CLIPSegForImageSegmentation` with its tokenizer.
    """

    masking = (
        "what CLIPSeg gives less than 0.5 for the class noun is filled with RGB (128, 128, 128), and the picture cut "
        "to a square around the rest; a picture without it stays whole"
    )

    def __init__(self, clip: str, dino: str, segmenter: str, *, device: str = "cpu"):
        super().__init__(clip, dino, device=device)
        self._segmenter_id = segmenter

    @cached_property
    def models(self) -> dict[str, str]:
        """See `TransformersInstruments`."""
        return super().models | {"segmenter": _told(self._segmenter_id, self._segmenter)}

    @property
    def preprocessing(self) -> dict[str, str]:
        """See `TransformersInstruments`."""
        return super().preprocessing | {"segmenter": self._segmenter_input.words}

    def foreground(self, images: Sequence[Image.Image], noun: str = "") -> list[Image.Image]:
        """The subjects alone; `noun` is what is looked for."""
        text = self._words([noun], padding=True, return_tensors="pt").to(self.device)

        def forward(pixels: torch.Tensor) -> torch.Tensor:
            tokens = {name: value.expand(len(pixels), -1) for name, value in text.items()}
            logits = self._segmenter(pixel_values=pixels, **tokens).logits
            return logits.reshape(len(pixels), *logits.shape[-2:]).sigmoid()

        masks = torch.cat(self._batches(images, self._segmenter_input, forward)).cpu()
        return [_cut_out(image, mask) for image, mask in zip(images, masks, strict=True)]

    @cached_property
    def _segmenter(self) -> Any:
        from transformers import CLIPSegForImageSegmentation

        return _load(CLIPSegForImageSegmentation, self._segmenter_id, "--segmenter", ("clipseg",)).to(self.device)

    @cached_property
    def _words(self) -> Any:
        from transformers import CLIPTokenizer

        return _load(CLIPTokenizer, self._segmenter_id, "--segmenter")

    @cached_property
    def _segmenter_input(self) -> "Preprocessing":
        side = self._segmenter.config.vision_config.image_size
        return Preprocessing(side, side, IMAGENET_MEAN, IMAGENET_STD, whole=True)


def _cut_out(image: Image.Image, mask: torch.Tensor) -> Image.Image:
    """The picture with what the mask [h, w] (0 to 1) leaves out in mid grey, cut to a square around the rest."""
    picture = image.convert("RGB")
    inside = Image.fromarray((mask > 0.5).numpy().astype(np.uint8) * 255).resize(
        picture.size, Image.Resampling.NEAREST
    )
    box = inside.getbbox()
    if box is None:
        return picture
    filled = Image.composite(picture, Image.new("RGB", picture.size, GREY), inside)
    side = max(box[2] - box[0], box[3] - box[1])
    left, top = ((box[i] + box[i + 2] - side) // 2 for i in (0, 1))
    square = Image.new("RGB", (side, side), GREY)
    square.paste(filled, (-left, -top))
    return square


class Preprocessing:
    """RGB, shorter side to `resize`, a square of `side` from the centre, normalised: [3, side, side].

    `whole` squeezes the whole picture into the square instead.
    """

    def __init__(self, side: int, resize: int, mean: Sequence[float], std: Sequence[float], *, whole: bool = False):
        self.side, self.resize, self.whole = side, resize, whole
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
        numbers = "mean {} std {}".format(*("/".join(f"{value:.3f}" for value in values) for values in (mean, std)))
        cut = f"to {side}x{side}" if whole else f"shorter side to {resize} (Pillow bicubic), centre crop {side}"
        self.words = f"RGB, {cut}{' (Pillow bicubic)' if whole else ''}, {numbers}"

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """The tensor of a picture of any mode and size."""
        picture = image.convert("RGB")
        scale = self.resize / min(picture.size)
        width, height = (self.side if self.whole else max(self.side, round(length * scale)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - self.side) / 2), round((height - self.side) / 2)
        picture = picture.crop((left, top, left + self.side, top + self.side))
        pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)
        return (pixels - self.mean) / self.std


def _told(identity: str, model: torch.nn.Module) -> str:
    name = Path(identity).name if Path(identity).is_dir() else identity
    return f"{name} ({type(model).__name__}, weights {_digest(model)})"


def _load(cls: Any, name: str, option: str, types: Sequence[str] = ()) -> Any:
    """A model for inference in float32, or a tokenizer.

    Raises:
        PersonaError: there is none of that name, or it is of another type.
    """
    if types and (found := _model_type(name)) not in (None, *types):
        raise PersonaError(f"{option} {name}: its model type is {found!r}; give one of {', '.join(types)}")
    try:
        loaded = cls.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PersonaError(f"{option} {name}: cannot be loaded ({reason}); give a local folder or a Hub id") from None
    return loaded.float().eval() if isinstance(loaded, torch.nn.Module) else loaded


def _model_type(name: str) -> str | None:
    try:
        return json.loads((Path(name) / "config.json").read_text()).get("model_type")
    except (OSError, ValueError):
        return None


def _digest(model: torch.nn.Module) -> str:
    """Digest of the names and shapes, and of four values of each weight.

    A pooler does not count: no metric uses it, and a checkpoint without one gets random weights.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if name.startswith("pooler."):
            continue
        flat = parameter.detach().flatten()
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(flat[:: max(1, flat.numel() // 4)][:4].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
