"""Changes made to a picture, its mask and its prompt at each learning step, drawn from the given generator alone.

Every augmentation has ``apply(pixels, mask, prompt, generator)``, which returns the first three anew: pixels [3, H, W]
in [-1, 1], mask [1, H, W] in [0, 1] or None, and a text. ``prompts(prompt)`` lists all texts that can come out, for
caching. A static one (``is_static``) has ``variant_count`` outcomes, listed by ``variants(pixels, mask, prompt)``:
encode these once, then take number ``choose(generator)`` at each step. ``apply`` makes the same choice from the same
generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import PersonaError


@dataclass(frozen=True, kw_only=True)
class HorizontalFlip:
    """Mirrors picture and mask with probability ``p``. Not for concepts with writing or a known side."""

    p: float = 0.5

    def __post_init__(self):
        _within("p", self.p, 0, 1)

    is_static = True
    variant_count = 2

    def apply(self, pixels, mask, prompt, generator):
        """The example, mirrored or not."""
        return self.variants(pixels, mask, prompt)[self.choose(generator)]

    def variants(self, pixels, mask, prompt) -> list[tuple]:
        """The example as it is, and mirrored."""
        return [(pixels, mask, prompt), (pixels.flip(-1), None if mask is None else mask.flip(-1), prompt)]

    def choose(self, generator) -> int:
        """The number of the variant of this step."""
        return int(_uniform(0, 1, generator) < self.p)

    def prompts(self, prompt) -> list[str]:
        """The prompt itself."""
        return [prompt]


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """Cuts out a part of the picture's own aspect, ``smallest`` to 1 times its side, and enlarges it to the old size.

    A crop that would lose all of the masked concept is not made.
    """

    smallest: float = 0.8

    def __post_init__(self):
        _within("smallest", self.smallest, 0.05, 1)

    is_static = False

    def apply(self, pixels, mask, prompt, generator):
        """The example, cropped."""
        height, width = pixels.shape[-2:]
        part = _uniform(self.smallest, 1, generator)
        inner = max(1, round(part * height)), max(1, round(part * width))
        top, left = _place(height - inner[0], generator), _place(width - inner[1], generator)
        window = (..., slice(top, top + inner[0]), slice(left, left + inner[1]))
        if mask is not None:
            cropped = _resized(mask[window], (height, width))
            if _lost(mask, cropped):
                return pixels, mask, prompt
            mask = cropped
        return _resized(pixels[window], (height, width)), mask, prompt

    def prompts(self, prompt) -> list[str]:
        """The prompt itself."""
        return [prompt]


@dataclass(frozen=True, kw_only=True)
class ResizeWithCaption:
    """Custom Diffusion's augmentation (arXiv 2212.04488): a random resize that the prompt tells of.

    With probability ``shrink_probability`` the picture is scaled by a factor drawn from ``shrink`` and put at a random
    place of a grey canvas of the old size; the returned mask is 1 on its pixels and 0 on the canvas, so that the loss
    sees only real pixels. Below ``small_below`` the prompt begins with one of ``small_words``. Otherwise the picture
    is scaled by a factor from ``enlarge`` and a random part of the old size is cut out; the prompt begins with one of
    ``large_words``. The default numbers and words are those of diffusers' training script for Custom Diffusion.

    Departures: an article that begins the prompt gives way to the words ("a <toy>" becomes "very small <toy>"); the
    border of ``margin`` pixels that the valid region loses on each side (one latent cell there) is at most a quarter
    of the shrunk picture, so that a 64 px picture keeps a valid region; the example stays as it is where nothing of a
    given mask would be left.

    The result always has a mask, multiplied by the given one where there is one.
    """

    shrink_probability: float = 0.66
    shrink: tuple[float, float] = (1 / 3, 1.0)
    enlarge: tuple[float, float] = (1.2, 1.4)
    small_below: float = 0.6
    small_words: tuple[str, ...] = ("a far away", "very small")
    large_words: tuple[str, ...] = ("zoomed in", "close up")
    margin: int = 8

    def __post_init__(self):
        for name in ("shrink", "enlarge", "small_words", "large_words"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _within("shrink_probability", self.shrink_probability, 0, 1)
        _within("shrink", self.shrink[0], 0.05, self.shrink[1])
        _within("shrink", self.shrink[1], self.shrink[0], 1)
        _within("enlarge", self.enlarge[0], 1, self.enlarge[1])
        _within("margin", self.margin, 0, math.inf)

    is_static = False

    def apply(self, pixels, mask, prompt, generator):
        """The example, shrunk or enlarged; the mask is [1, H, W]."""
        shrinks = _uniform(0, 1, generator) < self.shrink_probability
        factor = _uniform(*(self.shrink if shrinks else self.enlarge), generator)
        words = self.small_words if factor < self.small_below else self.large_words if factor > 1 else ()
        word = words[_place(len(words) - 1, generator)] if words else ""
        change = self._shrunk if shrinks else self._enlarged
        changed, valid, changed_mask = change(pixels, mask, factor, generator)
        if mask is None:
            return changed, valid, _prefixed(word, prompt)
        if _lost(mask, changed_mask * valid):
            return pixels, mask, prompt
        return changed, changed_mask * valid, _prefixed(word, prompt)

    def prompts(self, prompt) -> list[str]:
        """The prompt itself and behind each of the words."""
        return [prompt, *(_prefixed(word, prompt) for word in (*self.small_words, *self.large_words))]

    def _shrunk(self, pixels, mask, factor, generator):
        height, width = pixels.shape[-2:]
        inner = max(1, round(factor * height)), max(1, round(factor * width))
        top, left = _place(height - inner[0], generator), _place(width - inner[1], generator)
        canvas, valid = pixels.new_zeros(pixels.shape), pixels.new_zeros(1, height, width)
        canvas[:, top : top + inner[0], left : left + inner[1]] = _resized(pixels, inner)
        if inner == (height, width):
            return canvas, valid + 1, mask
        edge = [min(self.margin, side // 4) for side in inner]
        valid[:, top + edge[0] : top + inner[0] - edge[0], left + edge[1] : left + inner[1] - edge[1]] = 1
        if mask is not None:
            small, mask = _resized(mask, inner), pixels.new_zeros(1, height, width)
            mask[:, top : top + inner[0], left : left + inner[1]] = small
        return canvas, valid, mask

    def _enlarged(self, pixels, mask, factor, generator):
        height, width = pixels.shape[-2:]
        outer = round(factor * height), round(factor * width)
        top, left = _place(outer[0] - height, generator), _place(outer[1] - width, generator)
        window = (..., slice(top, top + height), slice(left, left + width))
        mask = None if mask is None else _resized(mask, outer)[window]
        return _resized(pixels, outer)[window], pixels.new_ones(1, height, width), mask


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Several augmentations, applied in this order; without any, the example stays as it is."""

    steps: tuple = ()

    def __post_init__(self):
        object.__setattr__(self, "steps", tuple(self.steps))

    @property
    def is_static(self) -> bool:
        """Whether every step is static."""
        return all(step.is_static for step in self.steps)

    @property
    def variant_count(self) -> int:
        """The number of outcomes of a static chain."""
        return math.prod(step.variant_count for step in self.steps)

    def apply(self, pixels, mask, prompt, generator):
        """The example after every step."""
        for step in self.steps:
            pixels, mask, prompt = step.apply(pixels, mask, prompt, generator)
        return pixels, mask, prompt

    def variants(self, pixels, mask, prompt) -> list[tuple]:
        """All outcomes of a static chain; the last step varies fastest.

        Raises:
            PersonaError: a step is not static.
        """
        if not self.is_static:
            moving = next(step for step in self.steps if not step.is_static)
            raise PersonaError(f"{type(moving).__name__} has no fixed variants: encode its pictures at each step")
        outcomes = [(pixels, mask, prompt)]
        for step in self.steps:
            outcomes = [variant for outcome in outcomes for variant in step.variants(*outcome)]
        return outcomes

    def choose(self, generator) -> int:
        """The number of the variant of this step."""
        number = 0
        for step in self.steps:
            number = number * step.variant_count + step.choose(generator)
        return number

    def prompts(self, prompt) -> list[str]:
        """All prompts that can come out, each once."""
        found = [prompt]
        for step in self.steps:
            found = [changed for known in found for changed in step.prompts(known)]
        return list(dict.fromkeys(found))


def _prefixed(words, prompt) -> str:
    if not words:
        return prompt
    article, _, rest = prompt.partition(" ")
    return f"{words} {rest if article.lower() in ('a', 'an', 'the') and rest else prompt}"


def _resized(samples, size):
    """[C, h, w] at another size, bilinear and antialiased, within -1..1, which rounding could leave."""
    import torch.nn.functional as F

    if samples.shape[-2:] == tuple(size):
        return samples
    resized = F.interpolate(samples[None], size=tuple(size), mode="bilinear", antialias=True, align_corners=False)
    return resized[0].clamp(-1, 1)


def _lost(before, after) -> bool:
    return bool(before.max() > 0) and not bool(after.max() > 0)


def _uniform(low, high, generator) -> float:
    import torch

    device = generator.device if generator is not None else None
    return low + (high - low) * torch.rand((), generator=generator, device=device, dtype=torch.float64).item()


def _place(last, generator) -> int:
    """A whole number from 0 to ``last``, both included."""
    import torch

    device = generator.device if generator is not None else None
    return int(torch.randint(last + 1, (), generator=generator, device=device))


def _within(name, value, low, high):
    if not low <= value <= high:
        raise PersonaError(f"{name}={value!r} is out of range: give a number from {low:g} to {high:g}")
