"""The world's autoencoder: a small stock AutoencoderKL, 64x64x3 -> 8x8x16, trained in minutes on two CPU cores."""

import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .optim import Muon
from .training import Log, load_checkpoint, save_checkpoint, to_tensor

KL_WEIGHT = 1e-3


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

    def forward(self, pictures: Tensor, noise: Tensor, blend: float = 0.0) -> tuple[Tensor, Tensor]:
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
    threads: int = 2,
    seed: int = 0,
    compile: bool = True,
):
    """Train on uint8 pictures [N, 64, 64, 3] for `minutes`, resuming from `folder/autoencoder.pt`; returns the EMA."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = new_autoencoder().to(memory_format=torch.channels_last)
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = Muon(model, lr)
    state = load_checkpoint(folder / "autoencoder.pt", {"model": model, "ema": ema, "optimizer": optimizer})
    step, spent = state.get("step", 0), state.get("seconds", 0.0)
    loss_fn = torch.compile(_Loss(model)) if compile else _Loss(model)
    log = Log(folder / "autoencoder.log", batch_size, every=50)
    started, saved = time.monotonic(), time.monotonic()
    while (elapsed := spent + time.monotonic() - started) < minutes * 60:
        optimizer.set_lr(lr * min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * elapsed / (minutes * 60))))
        rng = np.random.default_rng((seed, step))
        batch = to_tensor(pictures[np.sort(rng.integers(0, len(pictures), batch_size))])
        noise = torch.from_numpy(rng.standard_normal((batch_size, 16, 8, 8), np.float32))
        loss, squared = loss_fn(batch.contiguous(memory_format=torch.channels_last), noise)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(0.999, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(ema.parameters()), [p.detach() for p in model.parameters()], 1 - decay)
        log(step, elapsed, loss=loss.item(), psnr=6.02 - 10 * math.log10(squared.item()))
        if time.monotonic() - saved > 180:
            saved = time.monotonic()
            seconds = spent + saved - started
            save_checkpoint(
                folder / "autoencoder.pt",
                {"model": model, "ema": ema, "optimizer": optimizer},
                step=step,
                seconds=seconds,
            )
    save_checkpoint(
        folder / "autoencoder.pt",
        {"model": model, "ema": ema, "optimizer": optimizer},
        step=step,
        seconds=spent + time.monotonic() - started,
    )
    return ema


@torch.no_grad()
def encode(autoencoder, pictures: np.ndarray, batch_size: int = 100) -> tuple[Tensor, Tensor]:
    """Posterior means and standard deviations of uint8 pictures, each [N, 16, 8, 8] in fp16, unscaled."""
    means, stds = [], []
    for at in range(0, len(pictures), batch_size):
        batch = to_tensor(pictures[at : at + batch_size]).contiguous(memory_format=torch.channels_last)
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
