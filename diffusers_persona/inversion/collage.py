"""Seg-Mix: cut-out things of several pictures, side by side on a white canvas.

A step of a recipe's augmentation that needs all pictures: learning hands them over through `SegMix.among`.
"""

from __future__ import annotations

import dataclasses

from ..errors import PersonaError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegMix:
    """In place of a picture, with probability `p`, a collage of two of the concept's things (or of one, if it is one).

    Each is cut out of a random picture by its mask, scaled into its half of the canvas, and pasted at a random place;
    the halves may overlap. A picture without a mask is pasted whole. The returned masks are the pasted things'.

    Source: MuDI, arXiv 2404.04243, Seg-Mix.

    Attributes:
        p: probability of a collage, in [0, 1].
        prompt: of a collage; ``{things}`` is "a sks dog and a ktn cat".
        smallest: least part of its half that a thing takes, in (0, 1].
        overlap: how far a half reaches into the other, as a part of the canvas' width, in [0, 0.5].
    """

    p: float = 0.3
    prompt: str = "a photo of {things}, simple background"
    smallest: float = 0.6
    overlap: float = 0.1
    examples: tuple = dataclasses.field(default=(), repr=False)
    phrases: tuple[str, ...] = ()

    is_static = False

    def __post_init__(self):
        if not (0.0 <= self.p <= 1.0 and 0.0 < self.smallest <= 1.0 and 0.0 <= self.overlap <= 0.5):
            raise PersonaError("SegMix: give p in [0, 1], smallest in (0, 1] and overlap in [0, 0.5]")

    def among(self, examples, phrases) -> SegMix:
        """The step with what it draws from.

        Args:
            examples: of every picture the pixels [3, H, W], the masks [1 + things, H, W] or [1, H, W] or None, and the
                number of the thing that it shows alone, or None.
            phrases: what stands for each thing in a prompt.
        """
        return dataclasses.replace(self, examples=tuple(examples), phrases=tuple(phrases))

    def apply(self, pixels, mask, prompt, generator):
        """The example as it is, or a collage, its masks [1 + things, H, W] and its prompt."""
        import torch

        if float(torch.rand((), generator=generator)) >= self.p:
            return pixels, mask, prompt
        order = torch.randperm(len(self.phrases), generator=generator).tolist()[:2]
        canvas, places = torch.ones_like(pixels), pixels.new_zeros(len(self.phrases), *pixels.shape[-2:])
        for half, thing in enumerate(order):
            canvas, places[thing] = self._pasted(canvas, thing, half if len(order) > 1 else None, generator)
            others = [each for each in order if each != thing]
            places[others] = places[others] * (1.0 - places[thing])
        masks = torch.cat([places.amax(0, keepdim=True), *([places] if len(self.phrases) > 1 else [])])
        return canvas, masks, self.prompt.format(things=" and ".join(f"a {self.phrases[i]}" for i in order))

    def prompts(self, prompt) -> list[str]:
        """The prompt itself, and those of the collages."""
        import itertools

        orders = itertools.permutations(self.phrases, min(2, len(self.phrases)))
        return [prompt, *(self.prompt.format(things=" and ".join(f"a {p}" for p in order)) for order in orders)]

    def _pasted(self, canvas, thing, half, generator):
        """The canvas with one thing in its half (None: anywhere), and the thing's place."""
        import torch
        import torch.nn.functional as F

        from ..functional.collage import cut_out, fitted, paste

        pixels, mask = self._picture(thing, generator)
        piece, mask = cut_out(pixels, mask)
        height, width = canvas.shape[-2:]
        reach = width if half is None else round(width * (0.5 + self.overlap))
        part = self.smallest + (1.0 - self.smallest) * float(torch.rand((), generator=generator))
        size = fitted(tuple(piece.shape[-2:]), (height, reach), part)
        both = torch.cat([piece, mask[None]])[None]
        both = F.interpolate(both, size=size, mode="bilinear", antialias=True, align_corners=False)[0]
        top = int(torch.randint(height - size[0] + 1, (), generator=generator))
        left = int(torch.randint(reach - size[1] + 1, (), generator=generator)) + (width - reach if half else 0)
        return paste(canvas, both[:3].clamp(-1, 1), both[3].clamp(0, 1), top, left)

    def _picture(self, thing, generator):
        """A random picture that shows the thing, and its mask [H, W]."""
        import torch

        shown = []
        for pixels, masks, part in self.examples:
            own = masks is not None and len(masks) > 1 and len(self.phrases) > 1
            mask = None if masks is None else masks[1 + thing if own else 0]
            if part in (None, thing) and (mask is None or bool((mask > 0.5).any())):
                shown.append((pixels, mask))
        if not shown:
            raise PersonaError(f"no picture shows {self.phrases[thing]!r} by its mask: give one mask for each thing")
        pixels, mask = shown[int(torch.randint(len(shown), (), generator=generator))]
        return pixels, pixels.new_ones(pixels.shape[-2:]) if mask is None else mask
