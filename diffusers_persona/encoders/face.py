"""Who is in a picture: networks that give a face's identity as a unit vector, with gradient to the pixels."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..errors import PersonaError
from .iresnet import SIDE, of_weights
from .pixels import pixels_of, resized

TOYBOX = "toybox"
_WANTED = (
    "give face= a file with the weights of an ArcFace or CosFace iresnet (.safetensors, .pt, .pth), or the id or "
    "folder of a transformers vision model that was trained on faces"
)


class FaceEncoder(nn.Module):
    """Identity of whoever is in a picture: crop, network, unit vector.

    Attributes:
        network: face crops [B, 3, s, s] in [-1, 1] -> [B, D].
        crop: pictures [B, 3, H, W] -> crops, and whether a face was found, [B]; differentiable in the pixels.
    """

    def __init__(self, network: nn.Module, crop):
        super().__init__()
        self.network, self.crop = network.eval().requires_grad_(False), crop

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, H, W] in [-1, 1] -> identities [B, D] of length 1, and whether there is a face, [B]."""
        crops, found = self.crop(pixels.float())
        return F.normalize(self.network(crops), dim=-1), found

    @torch.no_grad()
    def pictures(self, images: list[Image.Image]) -> Tensor:
        """Identities [N, D] of PIL pictures."""
        device = next(self.network.parameters()).device
        return torch.cat([self(pixels_of(image).to(device))[0] for image in images]).cpu()


def face_features(host, name: str | None = None) -> FaceEncoder:
    """The face network called `name`.

    Pictures are taken as they are for networks other than the miniature world's: give pictures of the face, cut like
    those that the network was trained on.

    Args:
        host: the backbone that learns; a miniature one has the miniature world's network when `name` is None.
        name: ``"toybox"``, a file of weights, or the id or folder of a transformers vision model.

    Raises:
        PersonaError: naming what is missing.
    """
    if name == TOYBOX or (name is None and host.miniature):
        return _toybox()
    if name is None:
        raise PersonaError(f"this recipe needs a face-recognition network, which no pipeline holds: {_WANTED}")
    if Path(name).is_file():
        from ..formats.contents import read

        return FaceEncoder(of_weights(read(Path(name)).tensors, name), lambda pixels: _whole(pixels, SIDE))
    return _transformers(name)


def _whole(pixels: Tensor, side: int) -> tuple[Tensor, Tensor]:
    return resized(pixels, side), torch.ones(len(pixels), dtype=torch.bool, device=pixels.device)


class _FirstState(nn.Module):
    """A vision transformer's state at the class token."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixel_values=pixels).last_hidden_state[:, 0]


def _transformers(name: str) -> FaceEncoder:
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise PersonaError(f"face={name!r}: no such file, and no transformers model ({reason}); {_WANTED}") from error
    model = getattr(model, "vision_model", model)
    side = getattr(model.config, "image_size", None)
    if not isinstance(side, int):
        raise PersonaError(f"face={name!r}: {type(model).__name__} is no vision transformer; {_WANTED}")
    return FaceEncoder(_FirstState(model), lambda pixels: _whole(pixels, side))


# ------------------------------------------------------------------------------------------------- the miniature world


def _toybox() -> FaceEncoder:
    from ..toybox import instruments
    from ..toybox.instruments.geometry import FACE_SIDE, SIZE
    from ..toybox.instruments.segmenter import foreground_logits

    shared = instruments.load()
    network, segmenter = copy.deepcopy(shared._face), copy.deepcopy(shared._segmenter)  # they move with the pixels

    def crop(pixels: Tensor) -> tuple[Tensor, Tensor]:
        small = pixels if pixels.shape[-1] == SIZE else resized(pixels, SIZE)
        with torch.no_grad():
            covered = foreground_logits(segmenter.to(small.device), small.clamp(-1, 1))[:, 0] > 0
        boxes, found = zip(*(head_box(each) for each in covered))
        return cut(small, torch.tensor(boxes, device=small.device), FACE_SIDE), torch.tensor(found).to(small.device)

    return FaceEncoder(network, crop)


def head_box(covered: Tensor) -> tuple[tuple[float, float, float, float], bool]:
    """Left, top, right and bottom of the head of a portrait, and whether there is anybody.

    People of the miniature world stand at the lower edge: the head is the upper three quarters of what is covered.

    Args:
        covered: [side, side], true where the person is.
    """
    side = covered.shape[0]
    rows = (covered.sum(1) >= 3).nonzero().flatten()
    top = int(rows[0]) if len(rows) else 2
    height = max(side - top, 24)
    columns = covered[top : top + height // 2].any(0).nonzero().flatten()
    x = (int(columns[0]) + int(columns[-1]) + 1) / 2 if len(columns) else side / 2
    half, y = 0.375 * height, top + 0.375 * height
    return (x - half, y - half, x + half, y + half), len(rows) > 0


def cut(pixels: Tensor, boxes: Tensor, side: int) -> Tensor:
    """The boxes [B, 4] (left, top, right, bottom, in pixels) of pictures [B, 3, H, W] at side x side; grey outside."""
    height, width = pixels.shape[-2:]
    size = pixels.new_tensor([width, height])
    low, high = boxes[:, :2].to(pixels) / size, boxes[:, 2:].to(pixels) / size
    scale, centre = high - low, low + high - 1.0
    zero = torch.zeros_like(scale[:, 0])
    turn = torch.stack([scale[:, 0], zero, centre[:, 0], zero, scale[:, 1], centre[:, 1]], 1).view(-1, 2, 3)
    grid = F.affine_grid(turn, [len(pixels), 3, side, side], align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False)
