"""A collage of the concept's things as the start of sampling, so that they do not mix."""

from __future__ import annotations


def collage_start(pipe, pictures, masks, boxes, *, gamma: float = 1.0, generator=None, resolution: int | None = None):
    """Latents [1, c, h, w] to begin with, ``pipe(prompt, latents=...)``: noise around a faint collage.

    Source: MuDI, arXiv 2404.04243, the initialisation of inference; unverified: noise + gamma x signal x collage,
    where signal is that of the last timestep.

    Args:
        pipe: a diffusers pipeline.
        pictures, masks: PIL pictures of the things, and where each thing is in its picture (mode L).
        boxes: (left, top, right, bottom) of each thing in the picture, in [0, 1]; later things lie on top.
        gamma: strength of the collage.
        generator: of the noise, on the CPU.
        resolution: side of the picture in pixels; by default the host's.
    """
    import torch
    import torch.nn.functional as F

    from .. import backbones
    from ..functional.collage import cut_out, fitted, paste
    from ..inversion.images import to_tensor

    host = backbones.of(pipe)
    side = resolution or host.resolution
    canvas = torch.ones(3, side, side)
    for picture, mask, (left, top, right, bottom) in zip(pictures, masks, boxes, strict=True):
        piece, shape = cut_out(to_tensor(picture, side), to_tensor(mask.convert("L"), side)[0])
        size = fitted(tuple(piece.shape[-2:]), (round((bottom - top) * side), round((right - left) * side)), 1.0)
        both = torch.cat([piece, shape[None]])[None]
        both = F.interpolate(both, size=size, mode="bilinear", antialias=True, align_corners=False)[0]
        place = min(round(top * side), side - size[0]), min(round(left * side), side - size[1])
        canvas, _ = paste(canvas, both[:3].clamp(-1, 1), both[3].clamp(0, 1), *place)
    with torch.no_grad():
        latents = host.encode_images(canvas[None])[0].float().cpu()
    signal = host.noise_schedule().alphas_cumprod[-1].sqrt()
    return torch.randn(latents.shape, generator=generator) + gamma * signal * latents
