"""Bytes to pixels, safely: one picture or mask of any common format becomes an RGB or L image of known size.

Only Pillow's pure decoders of the formats below are ever asked, so that no file can start another program (as
PostScript would), and the header's width and height are judged before a single pixel is decoded.
"""

import io
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, WebPImagePlugin  # noqa: F401  (these two register themselves)

from ..errors import PersonaError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".apng": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
FOREIGN_SUFFIXES = frozenset(".heic .heif .avif .svg .psd .raw .dng .cr2 .nef .arw .jp2 .jxl .eps .pdf".split())
MINIMUM_SIDE = 8
MAXIMUM_PIXELS = 128_000_000  # above the largest sensors in use (102 megapixels); about 0.5 GB while decoding
LANCZOS = Image.Resampling.LANCZOS
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_SIGNATURES = (
    (b"%PDF", 0, "a PDF document"),
    (b"%!PS", 0, "a PostScript file"),
    (b"ftyphei", 4, "a HEIC picture"),
    (b"ftypmif1", 4, "a HEIF picture"),
    (b"ftypavif", 4, "an AVIF picture"),
    (b"ftyp", 4, "a video"),
    (b"8BPS", 0, "a Photoshop file"),
    (b"PK\x03\x04", 0, "a zip archive"),
    (b"version https://git-lfs", 0, "a git-lfs pointer (run git lfs pull)"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """One decoded picture.

    ``image``: RGB. ``alpha``: L of the same size, or None where every pixel is opaque. ``size``: (width, height) of
    the file after its EXIF orientation; ``image`` is smaller where ``working_side`` said so. ``notes``: what a user
    may want to know, each a short clause.
    """

    image: Image.Image
    alpha: Image.Image | None
    size: tuple[int, int]
    notes: tuple[str, ...] = ()


def decode(source, *, working_side=None, maximum_pixels=MAXIMUM_PIXELS) -> Decoded:
    """Decodes a path or a PIL image to RGB.

    EXIF orientation is applied, alpha composited on white, an embedded colour profile converted to sRGB, the first
    frame of an animation taken. A picture whose shorter side exceeds ``working_side`` pixels is reduced to it (JPEG by
    the decoder itself, which saves the memory).

    Raises:
        PersonaError: not a picture, damaged, empty, a side under 8 px or over ``maximum_pixels`` pixels. The message
            is one clause without the file's name: the caller knows it.
    """
    with _opened(source, maximum_pixels) as (image, notes):
        if min(image.size) < MINIMUM_SIDE:
            raise PersonaError(f"{_by(image.size)} px is too small: both sides need {MINIMUM_SIDE} px or more")
        orientation = _orientation(image, notes)
        width, height = image.size
        size = (height, width) if orientation in _SIDEWAYS else (width, height)
        notes += _frame_notes(image)
        too_large = working_side is not None and min(image.size) > working_side
        if too_large and image is not source:  # a caller's image is not ours to change
            image.draft(None, _shrunk(image.size, working_side))
        image.load()
        profile = image.info.get("icc_profile")
        rgb, alpha = _rgb_and_alpha(_upright(image, orientation), profile, notes)
        if too_large:
            target = _shrunk(size, working_side)
            rgb, alpha = rgb.resize(target, LANCZOS), alpha.resize(target, LANCZOS) if alpha else None
    return Decoded(image=rgb, alpha=alpha, size=size, notes=tuple(notes))


def decode_mask(source, *, maximum_pixels=MAXIMUM_PIXELS) -> tuple[Image.Image, tuple[str, ...]]:
    """Decodes a path or a PIL image to a mask: mode L, 255 = the concept, 0 = everything else, with its notes.

    A mask with no value of 128 or more is read as a label map (0, 1, 2, ...), where every label but 0 is the concept.

    Raises:
        PersonaError: as `decode`, and where no pixel of the mask is set.
    """
    with _opened(source, maximum_pixels) as (image, notes):
        orientation = _orientation(image, notes)
        image.load()
        mask = _eight_bit(_upright(image, orientation))
        if mask.has_transparency_data:
            rgba = mask.convert("RGBA")
            mask = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
        mask = mask.convert("L")
    highest = int(np.asarray(mask).max())
    if highest == 0:
        raise PersonaError("the mask is black everywhere: paint the concept white")
    if highest < 128:
        notes.append(f"the mask's brightest value is {highest} of 255: read as labels, all but 0 are the concept")
        mask = mask.point(lambda value: 255 if value else 0)
    return mask, tuple(notes)


def sniff(path: Path) -> str | None:
    """The Pillow format name of a file's content, judged by its first bytes, or None if it is no supported picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                return image.format
    except Image.DecompressionBombError:
        return SUFFIXES.get(path.suffix.lower(), "PNG")
    except Exception:  # hostile headers make decoders raise nearly anything; all of it means "not a picture"
        return None


@contextmanager
def _opened(source, maximum_pixels):
    """Opens a path (or takes a PIL image), checks the header's size, and turns every failure into a PersonaError."""
    notes = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if isinstance(source, Image.Image):
                yield _within(source, maximum_pixels), notes
            else:
                _verify(_file(source))
                with Image.open(source, formats=FORMATS) as image:
                    notes += _suffix_notes(source, image)
                    yield _within(image, maximum_pixels), notes
        bomb = Image.DecompressionBombWarning
        notes += sorted({one_line(w.message) for w in caught if not issubclass(w.category, bomb)})
    except PersonaError:
        raise
    except Image.DecompressionBombError as error:
        limit = f"{maximum_pixels / 1e6:g} megapixels"
        raise PersonaError(f"its header claims more than the limit of {limit}: reduce the picture first") from error
    except Image.UnidentifiedImageError as error:
        raise PersonaError(f"can't be read, it is {_what_is(source)}: convert it to PNG, JPEG or WebP") from error
    except Exception as error:  # decoders raise nearly anything on damaged bytes, struct.error and MemoryError too
        raise PersonaError(f"damaged or cut short ({one_line(error)}): save it anew") from error


def _file(path: Path) -> Path:
    if not path.exists():
        raise PersonaError("there is no such file")
    if not path.is_file():  # opening a pipe or a device would wait for ever
        raise PersonaError("not a regular file")
    if path.stat().st_size == 0:
        raise PersonaError("the file is empty (0 bytes)")
    return path


def _verify(path):
    """Checks the checksums of a PNG, which decoding alone does not; other formats have none."""
    with Image.open(path, formats=FORMATS) as image:
        if image.format == "PNG":
            image.verify()


def _within(image, maximum_pixels):
    width, height = image.size
    if width * height > maximum_pixels:
        raise PersonaError(
            f"{_by(image.size)} px is over the limit of {maximum_pixels / 1e6:g} megapixels: reduce the picture first"
        )
    return image


def _suffix_notes(path, image) -> list[str]:
    named = SUFFIXES.get(path.suffix.lower())
    found = "JPEG" if image.format == "MPO" else image.format  # MPO: a JPEG with further pictures behind it
    return [] if named == found else [f"named {path.suffix or 'without extension'} but its content is {found}"]


def _frame_notes(image) -> list[str]:
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return []
    return ["has several pages, the first is used" if image.format == "TIFF" else "animated, its first frame is used"]


def _upright(image, orientation):
    """The image turned as its EXIF orientation says; itself where there is nothing to turn."""
    return image if orientation == 1 else ImageOps.exif_transpose(image) or image


def _orientation(image, notes) -> int:
    """The EXIF orientation, 1 to 8; 1 is upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception as error:  # EXIF readers raise nearly anything on damaged data
        notes.append(f"its EXIF data is damaged and ignored ({one_line(error)})")
        return 1
    return orientation if orientation in range(1, 9) else 1


def _rgb_and_alpha(image, profile, notes):
    """RGB on white and the alpha (None where opaque) of an image in any mode."""
    image = _eight_bit(image)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha, image = image.getchannel("A"), image.convert("RGB")
        lowest, highest = alpha.getextrema()
        if highest == 0:
            raise PersonaError("every pixel is transparent: there is nothing to learn from")
        alpha = None if lowest == 255 else alpha
    if profile:
        image = _to_srgb(image, profile, notes)
    image = image.convert("RGB")
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    return image, alpha


def _eight_bit(image):
    """A picture of 16-bit, 32-bit or floating-point samples on the 0-255 scale; any other picture as it is."""
    if not image.mode.startswith(("I", "F")):
        return image
    samples = np.asarray(image).astype(np.float64)
    if not np.isfinite(samples).all():
        raise PersonaError("has samples that are not finite: save it as an 8-bit PNG")
    low, high = samples.min(), samples.max()
    white = _white_level(image.mode, high)
    if low < 0 or white is None:
        raise PersonaError(f"has samples from {low:g} to {high:g}, which is white? Save it as an 8-bit PNG")
    return Image.fromarray(np.rint(samples * (255 / white)).astype(np.uint8))


def _white_level(mode, high):
    if mode.startswith("I;16"):
        return 65535
    levels = (1, 255) if mode == "F" else (255, 65535)
    return next((level for level in levels if high <= level), None)


def _to_srgb(image, profile, notes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except Exception as error:
        notes.append(f"its colour profile can't be used and is ignored ({one_line(error)})")
        return image


def _shrunk(size, side) -> tuple[int, int]:
    scale = side / min(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _what_is(source) -> str:
    with open(source, "rb") as file:
        head = file.read(512)
    for magic, start, name in _SIGNATURES:
        if head[start : start + len(magic)] == magic:
            return name
    text = head.lstrip().lower()
    if text.startswith((b"<svg", b"<?xml")):
        return "an SVG or XML text"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page (a failed download?)"
    return "text" if b"\0" not in head and head.isascii() else "unknown data"


def _by(size) -> str:
    return f"{size[0]} x {size[1]}"


def one_line(message, limit=160) -> str:
    """A message of any origin on one line of at most ``limit`` characters."""
    text = " ".join(str(message).split()) or type(message).__name__
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."
