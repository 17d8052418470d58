"""Where the subject of a 64x64 picture is: foreground cut-outs and aligned face crops, from a mask."""

import numpy as np
from PIL import Image

SIZE = 64
FACE_SIDE = 56
"""Side of a face crop: the 112x112 convention, halved."""
GRAY = 128


def foreground(image: Image.Image, mask: Image.Image, margin: float = 0.08) -> Image.Image:
    """The subject alone: the rest filled with mid gray, cut to a square around the mask, at 64x64.

    `mask` is L, 0-255, and blends; `margin` is a share of the subject's longer side. A picture without a subject (no
    mask value above 127) stays whole, so that a failed generation is judged by what it shows.
    """
    box = mask.point(lambda value: 255 if value > 127 else 0).getbbox()
    if box is None:
        return image.copy()
    filled = Image.composite(image, Image.new("RGB", image.size, (GRAY,) * 3), mask)
    side = max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * margin)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return _crop(filled, (x - side / 2, y - side / 2, x + side / 2, y + side / 2), SIZE)


def align_face(image: Image.Image, mask: Image.Image, margin: int = 0) -> Image.Image:
    """The head of a portrait at a fixed place and scale: FACE_SIDE + 2 `margin` pixels square.

    People stand at the lower edge of a picture, so the top of the mask tells their height; the head is the upper
    three quarters of it, centred on what the mask covers there. Without a mask the usual place of a portrait is taken.
    """
    covered = np.asarray(mask) > 127
    rows = np.flatnonzero(covered.sum(1) >= 3)
    top = rows[0] if len(rows) else 2
    height = max(SIZE - top, 24)
    columns = np.flatnonzero(covered[top : top + height // 2].any(0))
    x = (columns[0] + columns[-1] + 1) / 2 if len(columns) else SIZE / 2
    half = 0.375 * height * (1 + 2 * margin / FACE_SIDE)
    y = top + 0.375 * height
    return _crop(image, (x - half, y - half, x + half, y + half), FACE_SIDE + 2 * margin)


def _crop(image: Image.Image, box: tuple[float, float, float, float], side: int) -> Image.Image:
    """The box, which may reach over the border (gray there), resized bilinearly."""
    room = SIZE // 2
    padded = Image.new("RGB", (image.width + 2 * room, image.height + 2 * room), (GRAY,) * 3)
    padded.paste(image, (room, room))
    box = tuple(min(max(value + room, 0), SIZE + 2 * room) for value in box)
    return padded.resize((side, side), Image.Resampling.BILINEAR, box=box)
