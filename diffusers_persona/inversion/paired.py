"""Changes of a picture that its prompt names with words that are learned along with the concept.

Source: Park et al., TextBoost, arXiv 2409.08248, section 3: what belongs to the change is told apart from the concept.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import PersonaError
from .augmentation import HorizontalFlip, _place, _resized, _uniform, _within

OPERATIONS = ("flip", "zoom-out", "zoom-in", "left", "right", "turned", "bright", "dark", "gray")


@dataclass(frozen=True, kw_only=True)
class NamedChange:
    """With probability ``p``, one of ``operations``; the prompt then begins with its word ``{operation}``.

    The recipe declares a `spaces.Word` of each operation's name. Where a change leaves places without picture, the
    mask is 0 there. Zooms by 0.34 to 0.6 and by 1.2 to 1.4 are the released code's; our own are shifts by a tenth to a
    quarter of the side, and brightness by 0.3 to 0.5.
    """

    p: float = 0.8
    operations: tuple[str, ...] = OPERATIONS

    is_static = False

    def __post_init__(self):
        object.__setattr__(self, "operations", tuple(self.operations))
        _within("p", self.p, 0, 1)
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown or not self.operations:
            raise PersonaError(f"NamedChange(operations={self.operations}): choose of {', '.join(OPERATIONS)}")

    def apply(self, pixels, mask, prompt, generator):
        """The example, changed or not."""
        if _uniform(0, 1, generator) >= self.p:
            return pixels, mask, prompt
        name = self.operations[_place(len(self.operations) - 1, generator)]
        amount = _uniform(0, 1, generator)
        pixels, mask = _change(name, amount, pixels, mask)
        return pixels, mask, f"{{{name}}} {prompt}" if prompt else prompt

    def prompts(self, prompt) -> list[str]:
        """The prompt itself, and with each operation's word."""
        return [prompt, *(f"{{{name}}} {prompt}" for name in self.operations)] if prompt else [prompt]


def _change(name, amount, pixels, mask):
    """One operation of strength `amount` in [0, 1) on a picture and its mask (None where all counts)."""
    if name in ("bright", "dark"):
        shift = (0.3 + 0.2 * amount) * (1 if name == "bright" else -1)
        return (pixels + shift).clamp(-1, 1), mask
    if name == "gray":
        return pixels.mean(0, keepdim=True).expand_as(pixels), mask
    if name == "flip":
        return HorizontalFlip().variants(pixels, mask, "")[1][:2]
    if name == "turned":
        turns = 1 if amount < 0.5 else 3
        return pixels.rot90(turns, (-2, -1)), None if mask is None else mask.rot90(turns, (-2, -1))
    if name == "zoom-in":
        return _zoomed_in(1.2 + 0.2 * amount, pixels), None if mask is None else _zoomed_in(1.2 + 0.2 * amount, mask)
    valid = pixels.new_ones(1, *pixels.shape[-2:]) if mask is None else mask
    if name == "zoom-out":
        return _zoomed_out(0.34 + 0.26 * amount, pixels), _zoomed_out(0.34 + 0.26 * amount, valid)
    shift = max(1, round((0.1 + 0.15 * amount) * pixels.shape[-1]))
    return tuple(_shifted(name, shift, samples) for samples in (pixels, valid))


def _zoomed_in(factor, samples):
    height, width = samples.shape[-2:]
    inner = max(1, round(height / factor)), max(1, round(width / factor))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    return _resized(samples[:, top : top + inner[0], left : left + inner[1]], (height, width))


def _zoomed_out(factor, samples):
    height, width = samples.shape[-2:]
    inner = max(1, round(height * factor)), max(1, round(width * factor))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    canvas = samples.new_zeros(samples.shape)
    canvas[:, top : top + inner[0], left : left + inner[1]] = _resized(samples, inner)
    return canvas


def _shifted(name, shift, samples):
    canvas = samples.new_zeros(samples.shape)
    if name == "right":
        canvas[..., shift:] = samples[..., :-shift]
    else:
        canvas[..., :-shift] = samples[..., shift:]
    return canvas
