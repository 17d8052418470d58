"""Picture styles as filters of a finished 64x64 picture; each is deterministic."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

_LUMA = np.array([0.3, 0.59, 0.11], np.float32)


def apply_style(image: Image.Image, style: str | None) -> Image.Image:
    """`image` (RGB, 64x64) in one of STYLES, HELD_OUT_STYLES or UNSEEN_STYLES; unchanged for None."""
    return _FILTERS[style](image) if style else image


def _to_image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")


def _edges(image: Image.Image) -> np.ndarray:
    """Edge strength 0-255, [64, 64]."""
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(0.6)), np.float32)
    across = np.abs(np.diff(pixels, axis=1, append=pixels[:, -1:])).max(-1)
    down = np.abs(np.diff(pixels, axis=0, append=pixels[-1:])).max(-1)
    return np.clip((across + down) * 1.9, 0, 255)


def _pixel_art(image: Image.Image) -> Image.Image:
    small = image.resize((16, 16), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)


def _sketch(image: Image.Image) -> Image.Image:
    luma = np.asarray(image, np.float32) @ _LUMA
    return _to_image(250 - _edges(image) * 0.85 - (255 - luma) * 0.12)


def _painting(image: Image.Image) -> Image.Image:
    """Flat patches, a warm tint and diagonal brush marks whose period divides the latent grid's 8 pixels."""
    pixels = np.asarray(image.filter(ImageFilter.ModeFilter(5)), np.float32)
    rows, columns = np.indices(pixels.shape[:2])
    marks = np.where((rows + columns) % 8 < 4, 8.0, -8.0)[..., None]
    return _to_image(pixels * 0.84 + np.array([40, 32, 12]) + marks)


def _neon(image: Image.Image) -> Image.Image:
    edges = np.clip(_edges(image) / 255 * 1.3, 0, 1)[..., None]
    pixels = np.asarray(image, np.float32)
    pure = pixels - pixels.min(-1, keepdims=True) * 0.8
    pure = pure / (pure.max(-1, keepdims=True) + 1) * 255
    return _to_image(np.array([16, 8, 36]) + edges * (pure * 0.9 + 40))


def _blueprint(image: Image.Image) -> Image.Image:
    values = np.array([28, 72, 150]) + _edges(image)[..., None] / 255 * np.array([225, 185, 105])
    values[::8] += 24
    values[:, ::8] += 24
    return _to_image(values)


def _mosaic(image: Image.Image) -> Image.Image:
    tiles = image.resize((16, 16), Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)
    values = np.array(tiles, np.float32)
    values[::4] *= 0.35
    values[:, ::4] *= 0.35
    return _to_image(values)


def _sepia(image: Image.Image) -> Image.Image:
    """An old print: brown tones that fade to the corners."""
    luma = (np.asarray(image, np.float32) @ _LUMA)[..., None] / 255
    rows, columns = (np.indices(luma.shape[:2]) - 31.5) / 31.5
    fade = 1 - 0.3 * np.clip(np.hypot(rows, columns) - 0.6, 0, None)[..., None]
    return _to_image((np.array([58, 32, 14]) + luma * np.array([192, 172, 128])) * fade)


def _screen(image: Image.Image) -> Image.Image:
    """An old screen: a cold glow between dark lines."""
    values = np.asarray(image, np.float32) * 0.8 + np.array([0, 40, 50])
    values[::4] *= 0.3
    values[1::4] *= 0.7
    return _to_image(values)


_FILTERS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "pixel art": _pixel_art,
    "sketch": _sketch,
    "painting": _painting,
    "neon": _neon,
    "blueprint": _blueprint,
    "mosaic": _mosaic,
    "sepia": _sepia,
    "screen": _screen,
}
