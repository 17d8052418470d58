"""The foreground segmenter: a tiny stock UNet2DModel over 2x2 pixel blocks (its timestep input stays at 0)."""

from pathlib import Path

import torch
from diffusers import UNet2DModel
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from .augmentation import degrade, to_pixels
from .fitting import Plan, fit
from .pictures import PictureSet

PLAN = Plan(samples=19_200, batch=32, lr=1.5e-3, muon_scale=8.0)
CHANNELS = (16, 32, 64)
BLOCK = 2
"""Side of the blocks that the model sees as channels: four times cheaper than pixels, as sharp at the output."""


def new_segmenter() -> UNet2DModel:
    """An untrained segmenter model; see `foreground_logits` for its inputs and outputs."""
    return UNet2DModel(
        sample_size=64 // BLOCK,
        in_channels=3 * BLOCK**2,
        out_channels=BLOCK**2,
        layers_per_block=1,
        block_out_channels=CHANNELS,
        down_block_types=("DownBlock2D",) * len(CHANNELS),
        up_block_types=("UpBlock2D",) * len(CHANNELS),
        norm_num_groups=8,
        add_attention=False,
    )


def foreground_logits(model: UNet2DModel, pixels: Tensor) -> Tensor:
    """RGB [N, 3, 64, 64] in [-1, 1] -> logits [N, 1, 64, 64] that a pixel is of a subject."""
    return F.pixel_shuffle(model(F.pixel_unshuffle(pixels, BLOCK), 0).sample, BLOCK)


def train(pictures: PictureSet, work: Path, plan: Plan = PLAN) -> UNet2DModel:
    """Fit the segmenter to rendered pictures and their masks: cross-entropy and soft Dice; resumes from `work`."""
    torch.manual_seed(plan.seed)
    model = new_segmenter()

    def loss(indices: Tensor, generator: Generator) -> Tensor:
        rows = indices.sort().values.numpy()
        wanted = torch.from_numpy(pictures.masks[rows])[:, None].float() / 255
        pixels = degrade(to_pixels(torch.from_numpy(pictures.images[rows])), generator, shift=0)
        logits = foreground_logits(model, pixels).float()
        covered = torch.sigmoid(logits)
        dice = 1 - (2 * (covered * wanted).sum((1, 2, 3)) + 1) / (covered.sum((1, 2, 3)) + wanted.sum((1, 2, 3)) + 1)
        return F.binary_cross_entropy_with_logits(logits, wanted) + 0.5 * dice.mean()

    fit(nn.ModuleDict({"model": model}), loss, plan, count=len(pictures), folder=work)
    return model
