"""Backgrounds of the miniature world: ten scenes, each as drawn and mirrored, and plain colours."""

import random
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from .vocabulary import COLOURS, SCENES

SIZE = 64
VARIANTS = 2
_S = 128  # scenes are drawn at twice the size and reduced, for smooth edges


def background(name: str, rng: random.Random) -> Image.Image:
    """A 64x64 RGB background: a scene (one of two variants) or a colour (jittered by at most 4 of 255)."""
    if name in SCENES:
        return _scene(name, rng.randrange(VARIANTS)).copy()
    return Image.new("RGB", (SIZE, SIZE), tuple(min(255, value + rng.randint(-4, 4)) for value in COLOURS[name]))


@cache
def _scene(name: str, variant: int) -> Image.Image:
    image = _DRAWERS[name]().resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if variant else image


def _gradient(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    ramp = np.linspace(0, 1, _S)[:, None, None]
    pixels = (np.array(top) * (1 - ramp) + np.array(bottom) * ramp).repeat(_S, axis=1)
    image = Image.fromarray(pixels.astype(np.uint8))
    return image, ImageDraw.Draw(image)


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill) -> None:
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)


def _beach() -> Image.Image:
    image, draw = _gradient((110, 195, 250), (205, 238, 252))
    _disc(draw, 108, 20, 15, (255, 228, 90))
    draw.rectangle([0, 66, _S, _S], fill=(40, 140, 210))
    draw.polygon([(0, 84), (_S, 92), (_S, _S), (0, _S)], fill=(244, 216, 150))
    return image


def _forest() -> Image.Image:
    image, draw = _gradient((160, 210, 165), (190, 225, 170))
    draw.rectangle([0, 88, _S, _S], fill=(80, 125, 60))
    for x in (4, 34, 66, 98, 126):
        draw.rectangle([x - 4, 84, x + 4, 100], fill=(100, 68, 42))
        draw.polygon([(x - 22, 88), (x + 22, 88), (x, 8 if x in (34, 98) else 22)], fill=(28, 98, 52))
    return image


def _snow() -> Image.Image:
    image, draw = _gradient((150, 180, 215), (215, 228, 240))
    draw.polygon([(-20, 96), (32, 34), (84, 96)], fill=(132, 154, 190))
    draw.polygon([(20, 48), (32, 34), (44, 48)], fill=(246, 249, 253))
    draw.ellipse([-60, 88, _S + 60, _S + 120], fill=(246, 249, 253))
    for x, y in ((12, 14), (60, 10), (104, 22), (88, 58), (120, 76), (116, 8)):
        _disc(draw, x, y, 4, (255, 255, 255))
    return image


def _city() -> Image.Image:
    image, draw = _gradient((150, 185, 225), (228, 216, 212))
    shades = ((104, 114, 142), (134, 108, 120), (88, 98, 120), (146, 138, 150))
    for index, (x, height) in enumerate(((0, 84), (26, 56), (52, 70), (78, 48), (102, 90))):
        draw.rectangle([x, 108 - height, x + 25, 108], fill=shades[index % 4])
        for window_y in range(114 - height, 100, 12):
            for window_x in (x + 4, x + 15):
                draw.rectangle([window_x, window_y, window_x + 5, window_y + 5], fill=(250, 230, 140))
    draw.rectangle([0, 106, _S, _S], fill=(84, 84, 92))
    for x in range(4, _S, 32):
        draw.rectangle([x, 115, x + 16, 119], fill=(238, 228, 170))
    return image


def _space() -> Image.Image:
    image, draw = _gradient((14, 12, 40), (40, 24, 76))
    for x, y in (
        (10, 12),
        (40, 6),
        (70, 14),
        (8, 60),
        (18, 104),
        (54, 120),
        (118, 66),
        (112, 110),
        (84, 122),
        (30, 34),
    ):
        _disc(draw, x, y, 2.4, (255, 255, 225))
    _disc(draw, 106, 22, 16, (215, 120, 80))
    return image


def _desert() -> Image.Image:
    image, draw = _gradient((250, 205, 130), (252, 232, 185))
    _disc(draw, 20, 20, 14, (255, 246, 205))
    draw.ellipse([-70, 76, 84, 220], fill=(224, 166, 90))
    draw.ellipse([34, 84, 210, 220], fill=(204, 140, 70))
    return image


def _sea() -> Image.Image:
    image, draw = _gradient((45, 160, 215), (12, 62, 128))
    draw.ellipse([-40, 110, _S + 40, _S + 60], fill=(202, 182, 132))
    for x, y, radius in ((14, 20, 5), (24, 42, 4), (112, 16, 6), (120, 44, 4), (100, 30, 3)):
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=(195, 238, 252), width=2)
    for x, height in ((8, 52), (20, 34), (120, 44)):
        draw.line([(x + (4 if step % 2 else -4), 120 - step * 8) for step in range(height // 8 + 1)], (40, 160, 95), 6)
    return image


def _meadow() -> Image.Image:
    image, draw = _gradient((120, 200, 252), (215, 240, 252))
    for x, y, radius in ((16, 20, 10), (28, 14, 12), (42, 20, 10)):
        _disc(draw, x, y, radius, (255, 255, 255))
    draw.ellipse([-70, 76, _S + 70, _S + 130], fill=(120, 198, 80))
    for x, y, fill in (
        (10, 100, (250, 230, 80)), (26, 118, (255, 255, 255)), (56, 122, (250, 150, 190)),
        (88, 118, (250, 230, 80)), (108, 102, (255, 255, 255)), (120, 120, (250, 150, 190)),
    ):  # fmt: skip
        _disc(draw, x, y, 4, fill)
    return image


def _room() -> Image.Image:
    image = Image.new("RGB", (_S, _S), (240, 222, 194))
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, 96, _S, _S], fill=(166, 110, 70))
    draw.rectangle([0, 92, _S, 96], fill=(250, 246, 238))
    draw.rectangle([8, 8, 48, 52], fill=(250, 250, 250))
    for x, y in ((12, 12), (30, 12), (12, 32), (30, 32)):
        draw.rectangle([x, y, x + 14, y + 16], fill=(150, 208, 242))
    for x in range(0, _S, 32):
        draw.line([(x, 96), (x - 8, _S)], fill=(138, 88, 56), width=2)
    return image


def _sunset() -> Image.Image:
    image, draw = _gradient((92, 60, 132), (255, 145, 78))
    _disc(draw, 98, 76, 22, (255, 222, 110))
    draw.polygon([(0, 92), (28, 82), (64, 96), (98, 84), (_S, 94), (_S, _S), (0, _S)], fill=(60, 36, 72))
    return image


_DRAWERS: dict[str, Callable[[], Image.Image]] = {
    "beach": _beach, "forest": _forest, "snow": _snow, "city": _city, "space": _space,
    "desert": _desert, "sea": _sea, "meadow": _meadow, "room": _room, "sunset": _sunset,
}  # fmt: skip
