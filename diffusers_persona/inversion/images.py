"""The pictures a concept is learned from: loaded from anywhere, checked once, handed to the loop as tensors."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from ..errors import PersonaError
from .decoding import MAXIMUM_PIXELS, Decoded, decode, decode_mask, one_line
from .imagefolder import Entry, mask_files, read_folder

ELONGATED = 4.0  # longer over shorter side, from which a square crop loses three quarters of the picture


class ImageWarning(UserWarning):
    """Something about one picture that a user may want to know; learning goes on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One picture: ``image`` RGB; ``mask`` L of its size (255 = the concept) or None; ``source`` names its origin.

    ``part_masks``: a mask for each of several things that are learned from the picture, or none; ``mask`` is then
    their union. ``number`` is its place in its `ImageSet`; ``part`` the thing that it shows, where several things
    come with pictures of their own.
    """

    image: Image.Image
    mask: Image.Image | None = None
    part_masks: tuple[Image.Image, ...] = ()
    caption: str | None = None
    source: str = "picture"
    number: int = 0
    part: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """The pictures of one concept, in a fixed order.

    ``notes``: one line for each picture with something to know (also sent as `ImageWarning`). ``skipped``: one line
    for each picture left out under ``on_error="skip"``.
    """

    examples: tuple[Example, ...]
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def __post_init__(self):
        numbered = tuple(dataclasses.replace(each, number=i) for i, each in enumerate(self.examples))
        object.__setattr__(self, "examples", numbered)

    def __len__(self):
        return len(self.examples)

    def __iter__(self):
        return iter(self.examples)

    def __getitem__(self, index):
        return self.examples[index]

    @property
    def has_masks(self) -> bool:
        """Whether any picture has a mask."""
        return any(example.mask is not None for example in self.examples)

    @property
    def has_captions(self) -> bool:
        """Whether every picture has a caption."""
        return all(example.caption for example in self.examples)

    def pixels(self, resolution):
        """All pictures as one tensor [P, 3, H, W] in [-1, 1], cut as learning cuts them."""
        import torch

        return torch.stack([example_to_tensors(example, resolution)[0] for example in self.examples])


def load_images(
    source,
    *,
    masks=None,
    parts=(),
    captions=None,
    on_error="refuse",
    use_alpha_as_mask=False,
    resolution=None,
    maximum_pixels=MAXIMUM_PIXELS,
) -> ImageSet:
    """Loads the pictures of one concept.

    Args:
        source: a folder, a file, a PIL image, an array (H x W, or H x W x 1, 3 or 4; uint8, uint16, or float in 0..1),
            a list of these, or an `ImageSet`, which is returned as it is. Folders follow the ``imagefolder``
            convention (see `inversion.imagefolder`). For several things with pictures of their own a mapping from
            each of `parts` to any of these, or a folder that holds a folder for each of them.
        masks: a folder with a mask of each picture's name, or a list in the order of the pictures (files sorted by
            name) of paths, PIL images, arrays or None. Given masks go before those of the folder. For several things a
            mapping from each of `parts` to such a folder or list, or a folder that holds a folder for each of them.
        parts: names of the several things that are learned from the pictures.
        captions: a list of texts or None in the order of the pictures, or a mapping from file name to text.
        on_error: ``"refuse"`` raises at the first bad picture; ``"skip"`` leaves it out with a warning.
        use_alpha_as_mask: keep the transparency of a picture without a mask as its mask. Transparent pixels are white
            in the picture either way.
        resolution: side in pixels that learning will use: pictures to be enlarged are named, and pictures over twice
            this size are reduced at once. Without it, the shorter side is kept at 2048 pixels or less.
        maximum_pixels: width times height, read from the header, above which a picture is refused undecoded (Pillow
            itself refuses over 179 million).

    Returns:
        An `ImageSet` of at least one example. Notes on a picture go out as one `ImageWarning` a picture.

    Raises:
        PersonaError: no picture is left; a picture is unreadable, under 8 px or too large; a mask differs in size from
            its picture or is black; the metadata is malformed.
    """
    if isinstance(source, ImageSet):
        if masks is not None or captions is not None:
            raise PersonaError("the pictures are an ImageSet already: give masks and captions when it is loaded")
        return source
    if parts and isinstance(source, (str, os.PathLike)) and all((Path(source) / part).is_dir() for part in parts):
        source = {part: Path(source) / part for part in parts}
    if isinstance(source, Mapping):
        options = dict(on_error=on_error, use_alpha_as_mask=use_alpha_as_mask, resolution=resolution)
        return _each_its_own(source, masks, parts, captions, maximum_pixels=maximum_pixels, **options)
    if on_error not in ("refuse", "skip"):
        raise PersonaError(f'on_error is "refuse" or "skip", not {on_error!r}')
    items, notes = _items(source)
    part_masks = _aligned_parts(masks, source, items, parts)
    masks = [None] * len(items) if parts else _aligned_masks(masks, items)
    captions = _aligned_captions(captions, items)
    working_side = 2 * resolution if resolution else 2048
    examples, skipped, seen = [], [], {}
    for (name, picture, sidecar), mask, own, caption in zip(items, masks, part_masks, captions, strict=True):
        try:
            mask = sidecar.mask if mask is None and not own else mask
            example, about = _example(name, picture, mask, own, use_alpha_as_mask, working_side, maximum_pixels)
        except PersonaError as error:
            if on_error == "refuse":
                raise PersonaError(f'{error}, or pass on_error="skip" to leave it out') from error
            skipped.append(str(error))
            continue
        about += _size_notes(example.image.size, resolution) + _twin_notes(example, seen)
        notes += [f"{name}: {'; '.join(about)}"] if about else []
        examples.append(dataclasses.replace(example, caption=caption or sidecar.caption))
    if not examples:
        raise PersonaError(f"no readable picture among {len(items)} (first: {skipped[0]})")
    for line in (*notes, *(f"left out: {line}" for line in skipped)):
        warnings.warn(line, ImageWarning, stacklevel=2)
    return ImageSet(examples=tuple(examples), notes=tuple(notes), skipped=tuple(skipped))


def _each_its_own(source, masks, parts, captions, **options) -> ImageSet:
    """The pictures of several things, each of which has its own."""
    wrong = set(source) != set(parts) or captions is not None
    if wrong or (masks is not None and not (isinstance(masks, Mapping) and set(masks) <= set(parts))):
        things = ", ".join(parts) or "one thing"
        raise PersonaError(
            f"pictures are given for {', '.join(map(str, source))}; the recipe learns {things}: give a mapping from "
            "each of them to its pictures, and masks, if any, in the same way"
        )
    sets = [load_images(source[part], masks=(masks or {}).get(part), **options) for part in parts]
    return ImageSet(
        examples=tuple(dataclasses.replace(e, part=number) for number, own in enumerate(sets) for e in own),
        notes=tuple(note for own in sets for note in own.notes),
        skipped=tuple(line for own in sets for line in own.skipped),
    )


def crop_box(size, resolution, crop="centre", generator=None) -> tuple[float, float, float, float]:
    """The largest box of the target's aspect inside a picture: (left, top, right, bottom) in pixels of the picture.

    Args:
        size: (width, height) of the picture.
        resolution: side of a square target, or (height, width).
        crop: ``"centre"`` or ``"random"`` (uniform along the longer side, drawn from ``generator``). The box begins
            on a whole pixel, since a shift by half a pixel blurs.
    """
    height, width = _sides(resolution)
    scale = min(size[0] / width, size[1] / height)
    spare = (int(size[0] - scale * width), int(size[1] - scale * height))
    if crop == "centre":
        left, top = spare[0] // 2, spare[1] // 2
    elif crop == "random":
        import torch

        along = torch.rand((), generator=generator, device=generator.device if generator else None).item()
        left, top = int(along * (spare[0] + 1)), int(along * (spare[1] + 1))
    else:
        raise PersonaError(f'crop is "centre" or "random", not {crop!r}')
    return left, top, min(left + scale * width, size[0]), min(top + scale * height, size[1])


def to_tensor(image, resolution, crop="centre", *, generator=None, box=None):
    """An RGB picture as float32 [3, H, W] in [-1, 1], or a mask (mode L) as float32 [1, H, W] in [0, 1].

    The crop comes first and is resampled straight to ``resolution`` (side, or (height, width)): pictures by Lanczos,
    masks by area. Give ``box`` (see `crop_box`) to cut a picture and its mask alike.
    """
    import torch

    height, width = _sides(resolution)
    box = box or crop_box(image.size, resolution, crop, generator)
    is_mask = image.mode == "L"
    filter_ = Image.Resampling.BOX if is_mask else Image.Resampling.LANCZOS
    if not is_mask:
        image = image.convert("RGB")
    samples = np.asarray(image.resize((width, height), filter_, box=box), dtype=np.float32)
    if is_mask:
        return torch.from_numpy(samples / 255.0)[None]
    return torch.from_numpy(samples / 127.5 - 1.0).permute(2, 0, 1).contiguous()


def example_to_tensors(example, resolution, crop="centre", *, generator=None):
    """The picture [3, H, W] and the mask [1 + parts, H, W] or None of an example, cut by one and the same box."""
    import torch

    box = crop_box(example.image.size, resolution, crop, generator)
    pixels = to_tensor(example.image, resolution, box=box)
    if example.mask is None:
        return pixels, None
    return pixels, torch.cat([to_tensor(m, resolution, box=box) for m in (example.mask, *example.part_masks)])


def _sides(resolution) -> tuple[int, int]:
    height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
    return height, width


def _items(source):
    """[(name, path or PIL image, Entry)] of any source, and the notes of a folder."""
    if isinstance(source, (str, os.PathLike)):
        path = _path(source)
        if path.is_dir():
            entries, notes = read_folder(path)
            return [(one_line(entry.path), entry.path, entry) for entry in entries], notes
        return [(one_line(path), path, Entry(path=path))], []
    if isinstance(source, (list, tuple)):
        if not source:
            raise PersonaError("the list of pictures is empty: give 3 to 5 pictures")
        return [_item(item, number) for number, item in enumerate(source, 1)], []
    return [_item(source, 1)], []


def _item(item, number):
    if isinstance(item, (str, os.PathLike)):
        path = _path(item)
        if path.is_dir():
            raise PersonaError(f"{path} is a folder inside a list of pictures: give its files, or the folder alone")
        return one_line(path), path, Entry(path=path)
    name = one_line(getattr(item, "filename", "") or f"picture {number}")
    return name, _picture(item, name), Entry(path=Path(name))


def _path(text) -> Path:
    if str(text).lower().startswith(("http://", "https://")):
        raise PersonaError(f"{one_line(text)} is a web address: download the picture and give its path")
    path = Path(text).expanduser()
    try:
        exists = path.exists()
    except (OSError, ValueError):
        exists = False
    if not exists:
        raise PersonaError(f"{one_line(path)}: there is no such file or folder")
    return path


def _picture(item, name):
    """A PIL image of a PIL image or an array."""
    if isinstance(item, Image.Image):
        return item
    try:
        array = np.asarray(item)
    except Exception as error:
        raise PersonaError(f"{name} is a {type(item).__name__}: give a path, a PIL image or an array") from error
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise PersonaError(f"{name} is an array of shape {array.shape}: give height x width x 3 (or 1, or 4)")
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise PersonaError(f"{name} is a float array outside of 0..1: scale it to 0..1")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = np.rint(array / 257).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise PersonaError(f"{name} is an array of {array.dtype}: give uint8, uint16, or float in 0..1")
    return Image.fromarray(array.squeeze(2) if array.shape[2:] == (1,) else np.ascontiguousarray(array))


def _aligned_masks(masks, items) -> list:
    if masks is None:
        return [None] * len(items)
    if isinstance(masks, (str, os.PathLike)):
        folder = _path(masks)
        found = mask_files(folder)
        missing = [name for name, _, entry in items if entry.path.stem not in found]
        if missing:
            raise PersonaError(f"{folder} has no mask for {missing[0]}: name the mask like its picture")
        return [found[entry.path.stem] for _, _, entry in items]
    masks = list(masks)
    if len(masks) != len(items):
        raise PersonaError(f"{len(masks)} masks for {len(items)} pictures: give one for each, None for no mask")
    return masks


def _aligned_parts(masks, source, items, parts) -> list[tuple]:
    """For each picture the masks of all `parts`, or an empty tuple where none are given."""
    if not parts:
        if isinstance(masks, Mapping):
            raise PersonaError(
                f"masks name {', '.join(masks)}, but the recipe learns one thing: give a folder or a list"
            )
        return [()] * len(items)
    folder = masks if masks is not None else source
    if isinstance(folder, (str, os.PathLike)) and not isinstance(masks, Mapping):
        folder = _path(folder) if masks is not None else _path(folder) / "masks"
        found = {part: folder / part for part in parts if (folder / part).is_dir()}
        masks = found or masks
    if masks is None:
        return [()] * len(items)
    if not isinstance(masks, Mapping) or set(masks) != set(parts):
        given = ", ".join(masks) if isinstance(masks, Mapping) else "one set of masks"
        raise PersonaError(f"masks are given for {given}, the things are {', '.join(parts)}: give {{thing: masks}}")
    return list(zip(*(_aligned_masks(masks[part], items) for part in parts), strict=True))


def _aligned_captions(captions, items) -> list:
    if captions is None:
        return [None] * len(items)
    if isinstance(captions, Mapping):
        names = {entry.path.name for _, _, entry in items}
        unused = [one_line(name) for name in captions if name not in names]
        if unused:
            raise PersonaError(f"captions name {unused[0]}, which is no picture of this set: correct the name")
        return [captions.get(entry.path.name) for _, _, entry in items]
    if isinstance(captions, str) or len(captions) != len(items):
        count = "one text" if isinstance(captions, str) else f"{len(captions)} captions"
        raise PersonaError(f"{count} for {len(items)} pictures: give a list with one for each, None for no caption")
    return list(captions)


def _example(name, picture, mask, part_masks, use_alpha_as_mask, working_side, maximum_pixels):
    """The example, without its caption, and the notes on it; every error begins with the name of its file."""
    try:
        decoded = decode(picture, working_side=working_side, maximum_pixels=maximum_pixels)
    except PersonaError as error:
        raise PersonaError(f"{name}: {error}") from error
    notes, own = list(decoded.notes), ()
    if any(part is not None for part in part_masks):
        nothing = Image.new("L", decoded.image.size)
        read = [(nothing, []) if m is None else _mask(name, m, decoded, maximum_pixels) for m in part_masks]
        own = tuple(image for image, _ in read)
        final = functools.reduce(ImageChops.lighter, own)
        notes += [note for _, about in read for note in about]
    elif mask is not None:
        final, about = _mask(name, mask, decoded, maximum_pixels)
        notes += about
    else:
        final = decoded.alpha if use_alpha_as_mask else None
        if decoded.alpha is not None and not use_alpha_as_mask:
            notes.append("transparent, laid on white")
    return Example(image=decoded.image, mask=final, part_masks=own, source=name), notes


def _mask(name, mask, decoded: Decoded, maximum_pixels):
    title = f"mask of {name}"
    if isinstance(mask, (str, os.PathLike)):
        mask = Path(mask).expanduser()
        title = one_line(mask)
    else:
        mask = _picture(mask, title)
    try:
        image, notes = decode_mask(mask, maximum_pixels=maximum_pixels)
    except PersonaError as error:
        raise PersonaError(f"{title}: {error}") from error
    if image.size != decoded.size:
        found, expected = (f"{size[0]} x {size[1]} px" for size in (image.size, decoded.size))
        raise PersonaError(f"{title}: the mask is {found} but its picture {name} {expected}: make them equal")
    return image.resize(decoded.image.size, Image.Resampling.BOX), list(notes)


def _size_notes(size, resolution) -> list[str]:
    notes = []
    if max(size) > ELONGATED * min(size):
        notes.append(f"very elongated: a square crop shows {min(size) / max(size):.1%} of it")
    if resolution and min(size) < resolution:
        notes.append(f"{size[0]} x {size[1]} px is enlarged {resolution / min(size):.1f} times to {resolution} px")
    return notes


def _twin_notes(example, seen) -> list[str]:
    content = hashlib.sha256(repr(example.image.size).encode() + example.image.tobytes()).digest()
    if content in seen:
        return [f"the same picture as {seen[content]}"]
    seen[content] = example.source
    return []
