"""Pieces of pictures on a plain canvas."""

from __future__ import annotations

from torch import Tensor


def cut_out(pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest box of picture [c, H, W] and mask [H, W] that holds the masked part; all for an empty mask."""
    rows, columns = (mask > 0.5).any(1).nonzero().flatten(), (mask > 0.5).any(0).nonzero().flatten()
    if not len(rows):
        return pixels, mask.new_ones(mask.shape)
    box = (..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    return pixels[box], mask[box]


def paste(canvas: Tensor, piece: Tensor, mask: Tensor, top: int, left: int) -> tuple[Tensor, Tensor]:
    """The canvas [c, H, W] with a piece [c, h, w] on it where its mask [h, w] is, and that place as a mask [H, W]."""
    place = canvas.new_zeros(canvas.shape[-2:])
    place[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    moved = canvas.new_zeros(canvas.shape)
    moved[:, top : top + mask.shape[0], left : left + mask.shape[1]] = piece
    return canvas + place * (moved - canvas), place


def fitted(size: tuple[int, int], box: tuple[int, int], part: float) -> tuple[int, int]:
    """Height and width of a piece of `size` that takes `part` of what fits into `box`, in its own aspect; >= 1."""
    factor = part * min(box[0] / size[0], box[1] / size[1])
    return max(1, round(factor * size[0])), max(1, round(factor * size[1]))
