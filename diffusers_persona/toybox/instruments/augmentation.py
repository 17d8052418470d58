"""Degradations that teach the instruments to read generated pictures: soft, noisy, shifted, of the same content."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def to_pixels(images: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] -> float [N, 3, H, W] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def degrade(pixels: Tensor, generator: Generator, *, shift: int = 3) -> Tensor:
    """A random mixture of shift, blur, loss of detail, noise, brightness and contrast for [N, 3, H, W] in [-1, 1].

    One in four pictures stays as it is.
    """
    count = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    kept = uniform(0, 1) < 0.25
    changed = _shift(pixels, shift, generator)
    changed = torch.where(uniform(0, 1) < 0.5, torch.lerp(changed, blur(changed), uniform(0.2, 1)), changed)
    changed = torch.where(uniform(0, 1) < 0.2, torch.lerp(changed, _reduced(changed), uniform(0.3, 1)), changed)
    changed = changed * uniform(0.9, 1.1) + uniform(-0.06, 0.06)
    noise = torch.randn(pixels.shape, generator=generator) * uniform(0, 0.1)
    smooth = F.interpolate(torch.randn(count, 3, 16, 16, generator=generator), pixels.shape[-2:], mode="bilinear")
    changed = changed + noise + smooth * uniform(0, 0.08)
    return torch.where(kept, pixels, changed.clamp(-1, 1))


def _shift(pixels: Tensor, most: int, generator: Generator) -> Tensor:
    """Move the whole batch by up to `most` pixels, repeating the border."""
    if not most:
        return pixels
    height, width = pixels.shape[-2:]
    x, y = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
    return F.pad(pixels, (most,) * 4, mode="replicate")[..., y : y + height, x : x + width]


def blur(pixels: Tensor) -> Tensor:
    """A 3x3 binomial blur."""
    padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    rows = (padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]) / 4
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4


def _reduced(pixels: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(pixels, 2), pixels.shape[-2:], mode="bilinear")
