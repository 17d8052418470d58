"""The Inception network of published FID values: its layers alone; the weights are a file of the user's.

Layers are named as in `pt_inception-2015-12-05-6726825d.pth`, the weights of the original FID code (TensorFlow's, in
PyTorch's layout). That network differs from torchvision's in its pooling: averages leave the border out, and the last
block takes the largest value. Sources: Szegedy et al., arXiv 1512.00567; Heusel et al., arXiv 1706.08500.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from diffusers_persona.errors import PersonaError

BATCH = 16
SIDE = 299


class Convolution(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Any, stride: int = 1, padding: Any = 0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] -> [N, outputs, H', W']."""
        return F.relu(self.bn(self.conv(x)))


def _average(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _largest(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 3, 1, 1)


def _reduce(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 3, 2)


class Block(nn.Module):
    """Branches side by side: each a chain of convolutions, which may end in several; then perhaps a pooled one.

    Args:
        inputs: channels.
        branches: lists of (name, outputs, kernel, stride, padding); a list in the place of one forks the chain.
        pool: what the last branch does to the input first.
        pooled: outputs of its 1x1 convolution `branch_pool`; 0 has none.
    """

    def __init__(self, inputs: int, branches: Sequence[Sequence[Any]], pool: Any, pooled: int = 0):
        super().__init__()
        self.pool, self.chains = pool, []
        for branch in branches:
            channels, chain = inputs, []
            for step in branch:
                forks = step if isinstance(step, list) else [step]
                for name, outputs, kernel, stride, padding in forks:
                    self.add_module(name, Convolution(channels, outputs, kernel, stride, padding))
                chain.append([name for name, *_ in forks])
                channels = forks[0][1]
            self.chains.append(chain)
        self.branch_pool = Convolution(inputs, pooled, 1) if pooled else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The branches' outputs, one after the other on the channel axis."""
        outputs = []
        for *steps, last in self.chains:
            y = x
            for (name,) in steps:
                y = self.get_submodule(name)(y)
            outputs += [self.get_submodule(name)(y) for name in last]
        return torch.cat([*outputs, self.branch_pool(self.pool(x))], dim=1)


def _c(name: str, outputs: int, kernel: Any = 1, stride: int = 1, padding: Any = 0) -> tuple:
    return name, outputs, kernel, stride, padding


def _wide(name: str, outputs: int, size: int = 7) -> tuple:
    return _c(name, outputs, (1, size), 1, (0, size // 2))


def _tall(name: str, outputs: int, size: int = 7) -> tuple:
    return _c(name, outputs, (size, 1), 1, (size // 2, 0))


def _block_a(inputs: int, pooled: int) -> Block:
    triple = [_c("branch3x3dbl_1", 64), _c("branch3x3dbl_2", 96, 3, 1, 1), _c("branch3x3dbl_3", 96, 3, 1, 1)]
    five = [_c("branch5x5_1", 48), _c("branch5x5_2", 64, 5, 1, 2)]
    return Block(inputs, [[_c("branch1x1", 64)], five, triple], _average, pooled)


def _block_b() -> Block:
    triple = [_c("branch3x3dbl_1", 64), _c("branch3x3dbl_2", 96, 3, 1, 1), _c("branch3x3dbl_3", 96, 3, 2)]
    return Block(288, [[_c("branch3x3", 384, 3, 2)], triple], _reduce)


def _block_c(n: int) -> Block:
    seven = [_c("branch7x7_1", n), _wide("branch7x7_2", n), _tall("branch7x7_3", 192)]
    double = [_c("branch7x7dbl_1", n), _tall("branch7x7dbl_2", n), _wide("branch7x7dbl_3", n)]
    double += [_tall("branch7x7dbl_4", n), _wide("branch7x7dbl_5", 192)]
    return Block(768, [[_c("branch1x1", 192)], seven, double], _average, 192)


def _block_d() -> Block:
    three = [_c("branch3x3_1", 192), _c("branch3x3_2", 320, 3, 2)]
    seven = [_c("branch7x7x3_1", 192), _wide("branch7x7x3_2", 192), _tall("branch7x7x3_3", 192)]
    return Block(768, [three, [*seven, _c("branch7x7x3_4", 192, 3, 2)]], _reduce)


def _block_e(inputs: int, pool: Any) -> Block:
    three = [_c("branch3x3_1", 384), [_wide("branch3x3_2a", 384, 3), _tall("branch3x3_2b", 384, 3)]]
    double = [_c("branch3x3dbl_1", 448), _c("branch3x3dbl_2", 384, 3, 1, 1)]
    double.append([_wide("branch3x3dbl_3a", 384, 3), _tall("branch3x3dbl_3b", 384, 3)])
    return Block(inputs, [[_c("branch1x1", 320)], three, double], pool, 192)


class Inception(nn.Module):
    """Pictures [N, 3, 299, 299] in [-1, 1] -> features [N, 2048], the mean of the last block over places."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, 1, 1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _block_a(192, 32), _block_a(256, 64), _block_a(288, 64)
        self.Mixed_6a = _block_b()
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d = _block_c(128), _block_c(160), _block_c(160)
        self.Mixed_6e, self.Mixed_7a = _block_c(192), _block_d()
        self.Mixed_7b, self.Mixed_7c = _block_e(1280, _average), _block_e(2048, _largest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = _reduce(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = _reduce(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = self.get_submodule(f"Mixed_{name}")(x)
        return x.mean(dim=(2, 3))


class InceptionFeatures:
    """FID's features, from a file of weights (safetensors, or a .pth of tensors alone; nothing in it is executed)."""

    preprocessing = "RGB, squeezed to 299x299 (bilinear, not antialiased), [-1, 1]"

    def __init__(self, path: Path):
        self.network = load_inception(path)
        self.name = f"Inception {path.name} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]})"

    def __call__(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """[N, 2048] of pictures of any size."""
        features = []
        with torch.no_grad():
            for start in range(0, len(images), BATCH):
                batch = [_pixels(image) for image in images[start : start + BATCH]]
                features.append(self.network(torch.cat(batch)))
        return torch.cat(features)


def load_inception(path: Path) -> Inception:
    """The network with the weights of a file.

    Raises:
        PersonaError: it cannot be read, or holds other weights.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        kept = {name: value for name, value in weights.items() if not name.startswith(("fc.", "AuxLogits."))}
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise PersonaError(
            f"--inception {path}: cannot be read ({reason}); give the weights of FID's network"
        ) from None
    network = Inception()
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    for name, shape in wanted.items():
        found = getattr(kept.get(name), "shape", None)
        if found != shape and not name.endswith("num_batches_tracked"):
            held = "nothing" if found is None else list(found)
            raise PersonaError(f"--inception {path}: it holds {held} as {name}, and FID's network has {list(shape)}")
    network.load_state_dict({name: kept[name] for name in wanted if name in kept}, strict=False)
    return network.eval()


def _pixels(image: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255).permute(2, 0, 1)[None]
    return F.interpolate(pixels, (SIDE, SIDE), mode="bilinear", align_corners=False) * 2 - 1
