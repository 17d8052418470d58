"""The improved ResNet of face recognition, whose weights InsightFace, ArcFace and CosFace releases store.

Source: Duta et al., arXiv 2004.04989; the face variant: Deng et al., ArcFace, arXiv 1801.07698, section 3.1.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from ..errors import PersonaError

SIDE = 112
WIDTHS = (64, 128, 256, 512)


class _Block(nn.Module):
    """norm, 3x3, norm, PReLU, 3x3 (with the stride), norm; beside the way past it."""

    def __init__(self, width_in, width, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        past = x if self.downsample is None else self.downsample(x)
        x = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return past + self.bn3(self.conv2(x))


class IResNet(nn.Module):
    """Aligned faces [B, 3, 112, 112] in [-1, 1] -> identity [B, dimensions], not normalised.

    Args:
        blocks: number of blocks in each of the four stages: (3, 4, 14, 3) is iresnet50, (3, 13, 30, 3) iresnet100.
        dimensions: of the identity vector.
    """

    def __init__(self, blocks=(3, 4, 14, 3), dimensions: int = 512):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1, self.prelu = nn.BatchNorm2d(WIDTHS[0]), nn.PReLU(WIDTHS[0])
        before = WIDTHS[0]
        for stage, (count, width) in enumerate(zip(blocks, WIDTHS), 1):
            made = [_Block(before if n == 0 else width, width, 2 if n == 0 else 1) for n in range(count)]
            self.add_module(f"layer{stage}", nn.Sequential(*made))
            before = width
        self.bn2 = nn.BatchNorm2d(before)
        self.fc = nn.Linear(before * (SIDE // 16) ** 2, dimensions)
        self.features = nn.BatchNorm1d(dimensions)

    def forward(self, faces: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(faces)))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.features(self.fc(torch.flatten(self.bn2(x), 1)))


def of_weights(tensors: dict[str, Tensor], path) -> IResNet:
    """The network of a release's weights, with the depth that their names tell; `path` is only named in errors.

    Raises:
        PersonaError: naming the key that is missing or does not fit.
    """
    tensors = {re.sub(r"^(module|backbone)\.", "", key): value.float() for key, value in tensors.items()}
    blocks = [len({k.split(".")[1] for k in tensors if k.startswith(f"layer{stage}.")}) for stage in range(1, 5)]
    if "fc.weight" not in tensors or not all(blocks):
        raise PersonaError(
            f"{path}: no weights of an iresnet face network (layer1.0.bn1.weight, ..., fc.weight); give an ArcFace or "
            "CosFace backbone, or the id of a transformers vision model"
        )
    network = IResNet(blocks, len(tensors["fc.weight"]))
    known = network.state_dict()
    for key, value in known.items():
        if not key.endswith("num_batches_tracked") and tensors.get(key, value.new_empty(0)).shape != value.shape:
            found = f"shape {list(tensors[key].shape)}" if key in tensors else "no tensor"
            raise PersonaError(f"{path}: key {key!r} has {found}, an iresnet needs {list(value.shape)}")
    network.load_state_dict({**known, **{key: value for key, value in tensors.items() if key in known}})
    return network
