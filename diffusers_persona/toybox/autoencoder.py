"""The world's autoencoder: a small stock AutoencoderKL, 64x64x3 -> 8x8x16, trained in minutes on two CPU cores."""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import parallel
from .optim import Muon
from .training import Trainer, to_tensor

KL_WEIGHT = 1e-3
CROPPED = 0.75
"""The first share of the time learns from 32x32 crops, at a quarter of the cost of a picture; then whole pictures."""


def new_autoencoder():
    """An untrained AutoencoderKL of the world's size."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
    )


class _Loss(nn.Module):
    """L1 + 0.5 MSE + 0.5 gradient L1 + KL of a batch in [-1, 1]."""

    def __init__(self, autoencoder: nn.Module):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, pictures: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            posterior = self.autoencoder.encode(pictures).latent_dist
            decoded = self.autoencoder.decode(posterior.mean + posterior.std * noise).sample
        decoded = decoded.float()
        kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        error = decoded - pictures
        gradients = (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()) * 0.5
        squared = (error**2).mean()
        return error.abs().mean() + 0.5 * squared + gradients + KL_WEIGHT * kl, squared


def train_autoencoder(
    pictures: np.ndarray,
    folder: Path,
    *,
    minutes: float,
    batch_size: int = 16,
    lr: float = 2e-3,
    seed: int = 0,
    decoder_of: nn.Module | None = None,
) -> None:
    """Train on uint8 pictures [N, 64, 64, 3] for `minutes` in all, resuming from `folder/autoencoder.pt`.

    With `decoder_of` only the decoder of that autoencoder learns on, into `folder/decoder.pt`; its latents stay
    as they are. The averaged weights are the checkpoint's "ema". Runs in every process of `parallel.launch`.
    """
    torch.manual_seed(seed)
    model = decoder_of or new_autoencoder()
    if decoder_of:
        model.requires_grad_(False)
        model.decoder.requires_grad_(True)
    loss_fn, optimizer = _Loss(model), Muon(model, lr)
    path = folder / ("decoder.pt" if decoder_of else "autoencoder.pt")
    trainer = Trainer(model, optimizer, path, batch_size=batch_size, minutes=minutes)
    share = batch_size // parallel.processes()
    while (progress := trainer.progress()) < 1:
        optimizer.set_lr(lr * min(1, (trainer.step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * progress)))
        rng = np.random.default_rng((seed, trainer.step, parallel.rank()))
        batch = to_tensor(
            _crops(pictures[rng.integers(0, len(pictures), share)], rng, 32 if progress < CROPPED else 64)
        )
        noise = torch.from_numpy(
            rng.standard_normal((share, 16, batch.shape[-2] // 8, batch.shape[-1] // 8), np.float32)
        )
        loss, squared = loss_fn(batch, noise)
        trainer.update(loss, psnr=6.02 - 10 * math.log10(squared.item()))
    trainer.save()


def _crops(pictures: np.ndarray, rng: np.random.Generator, side: int) -> np.ndarray:
    """One crop of `side` pixels for all pictures, on the latent grid."""
    top, left = rng.integers(0, (64 - side) // 8 + 1, 2) * 8
    return pictures[:, top : top + side, left : left + side]


@torch.no_grad()
def encode(autoencoder, pictures: np.ndarray, batch_size: int = 100) -> tuple[Tensor, Tensor]:
    """Posterior means and standard deviations of uint8 pictures, each [N, 16, 8, 8] in fp16, unscaled."""
    means, stds = [], []
    for at in range(0, len(pictures), batch_size):
        batch = to_tensor(pictures[at : at + batch_size])
        with torch.autocast("cpu", torch.bfloat16):
            posterior = autoencoder.encode(batch).latent_dist
        means.append(posterior.mean.half())
        stds.append(posterior.std.half())
    return torch.cat(means), torch.cat(stds)


@torch.no_grad()
def psnr(autoencoder, pictures: np.ndarray, batch_size: int = 100) -> float:
    """Mean PSNR in dB of encoding (posterior mean) and decoding uint8 pictures."""
    values = []
    for at in range(0, len(pictures), batch_size):
        batch = to_tensor(pictures[at : at + batch_size])
        decoded = autoencoder.decode(autoencoder.encode(batch).latent_dist.mean).sample.clamp(-1, 1)
        squared = F.mse_loss(decoded, batch, reduction="none").mean((1, 2, 3)) / 4
        values.append(-10 * squared.clamp_min(1e-10).log10())
    return torch.cat(values).mean().item()
