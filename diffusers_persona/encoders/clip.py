"""Pictures and texts in the space of a CLIP, by the role that it has beside a host.

`image_features(host)` is the CLIP that belongs to the host: for miniature hosts the one of the Toybox, for others the
published one of the text encoder's width, or the one that is named. It is read from a folder or from the Hub's cache.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import PersonaError

BY_WIDTH = {768: "openai/clip-vit-large-patch14", 1024: "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"}
"""Width of a host's first text encoder -> the CLIP that its pictures are seen with."""
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


class ClipFeatures:
    """A frozen CLIP in float32; gradients flow through it to the pictures.

    Attributes:
        model: a `transformers.CLIPModel`.
        tokenizer: its tokenizer.
        name: of the model, for messages.
        width: d of the embeddings.
    """

    def __init__(self, model, tokenizer, name: str, mean, deviation):
        self.model, self.tokenizer, self.name = model.eval().requires_grad_(False), tokenizer, name
        self.width = model.config.projection_dim
        self._mean, self._deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (mean, deviation))

    def images(self, pixels: Tensor) -> Tensor:
        """Embeddings [B, d], not normalised, of pictures [B, 3, H, W] in [-1, 1] of any size."""
        side = self.model.config.vision_config.image_size
        pixels = pixels.float()
        if pixels.shape[-2:] != (side, side):
            pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True, align_corners=False)
        mean, deviation = self._mean.to(pixels), self._deviation.to(pixels)
        prepared = (pixels.clamp(-1, 1) / 2 + 0.5 - mean) / deviation
        return self._on(pixels.device).get_image_features(pixel_values=prepared).pooler_output

    @torch.no_grad()
    def texts(self, texts: list[str]) -> Tensor:
        """Embeddings [B, d], not normalised, of texts; cut off after the model's longest text."""
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).to(self.model.device)
        return self.model.get_text_features(**tokens).pooler_output

    def _on(self, device):
        return self.model.to(device)


def image_features(host, name: str | None = None) -> ClipFeatures:
    """The CLIP beside `host`.

    Args:
        host: a `Backbone`.
        name: folder or Hub id of a `CLIPModel` with its tokenizer; None for the one that belongs to the host.

    Raises:
        PersonaError: naming the CLIP that cannot be had, or the width for which none is known.
    """
    if name is not None:
        return _loaded(name)
    if host.miniature:
        return _toybox()
    width = next(iter(host.text_encoders.values())).get_input_embeddings().embedding_dim
    if width not in BY_WIDTH:
        raise PersonaError(f"no CLIP is known for a text encoder of width {width}; name one with clip=")
    return _loaded(BY_WIDTH[width])


def text_projection(host, clip: ClipFeatures) -> Tensor:
    """The map [w, d] from the state of the end token in the host's first text encoder to the CLIP's embeddings.

    It is the CLIP's own where the host's text encoder is the CLIP's; for miniature hosts, whose text encoders are
    trained for themselves, it is fitted to captions of the Toybox's world.

    Raises:
        PersonaError: the text encoder is not this CLIP's.
    """
    encoder = next(iter(host.text_encoders.values()))
    own = getattr(encoder, "text_model", encoder).embeddings.position_embedding.weight
    theirs = clip.model.text_model.embeddings.position_embedding.weight
    if own.shape == theirs.shape and torch.allclose(own.float().cpu(), theirs.float().cpu(), atol=1e-3):
        return clip.model.text_projection.weight.detach().T.float().clone()
    if host.miniature:
        return _fitted(host, clip)
    raise PersonaError(
        f"the text encoder of {type(host.pipe).__name__} is not the text side of {clip.name}; "
        "name the CLIP that it comes from with clip="
    )


@torch.no_grad()
def end_states(host, texts: list[str]) -> Tensor:
    """The state [B, w] of the end token of each text in the host's first text encoder, after the final norm."""
    from ..functional.token_rows import last_position

    name = next(iter(host.text_encoders))
    encoder, ids = host.text_encoders[name], host.tokenize(texts)[name]
    states = encoder(ids.to(encoder.device)).last_hidden_state
    ends = last_position(ids, host.tokenizers[name].eos_token_id)
    return states[torch.arange(len(ids)), ends.to(states.device)]


def _fitted(host, clip) -> Tensor:
    from ..functional.alignment import ridge

    captions, host = _world_captions(), host.private_clone()  # tokenizing would change the user's tokenizers
    states = torch.cat([end_states(host, captions[i : i + 64]) for i in range(0, len(captions), 64)])
    targets = torch.cat([clip.texts(captions[i : i + 64]) for i in range(0, len(captions), 64)])
    return ridge(states.float().cpu(), F.normalize(targets, dim=-1).cpu())


def _world_captions() -> list[str]:
    """Things in places and in styles, of what the Toybox's models know."""
    from ..toybox import vocabulary as words

    nouns, places = [*words.NOUNS, *words.CLASS_WORDS], [words.place(scene) for scene in words.SCENES]
    plain = [f"{words.an(noun)} {places[i % len(places)]}" for i, noun in enumerate(nouns)]
    styled = [
        f"{words.an(style)} of {words.an(noun)} {places[(i + k) % len(places)]}"
        for k, style in enumerate(words.STYLES)
        for i, noun in enumerate(nouns)
    ]
    coloured = [f"{words.an(list(words.COLOURS)[i % len(words.COLOURS)])} {noun}" for i, noun in enumerate(nouns)]
    return plain + styled + coloured


@functools.lru_cache(maxsize=1)
def _toybox() -> ClipFeatures:
    from transformers import CLIPModel, CLIPTokenizer

    from ..toybox.instruments import FOLDER

    model = CLIPModel.from_pretrained(FOLDER / "clip", local_files_only=True).float()
    return ClipFeatures(model, CLIPTokenizer.from_pretrained(FOLDER / "clip"), "toybox/clip", HALF, HALF)


@functools.lru_cache(maxsize=2)
def _loaded(name: str) -> ClipFeatures:
    from transformers import CLIPModel, CLIPTokenizer

    try:
        model, tokenizer = CLIPModel.from_pretrained(name), CLIPTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise PersonaError(
            f"CLIP {name!r} cannot be read ({reason}); fetch it once while online, or name a folder with clip="
        ) from error
    return ClipFeatures(model.float(), tokenizer, name, MEAN, DEVIATION)
