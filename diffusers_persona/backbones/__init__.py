"""Host families behind one small interface: `of(pipe)` gives a pipeline's backbone.

A space, a loss or a scheme is written against `Backbone`, never against a model class.
"""

from .base import Backbone
from .sd import StableDiffusion
from .sdxl import StableDiffusionXL

FAMILIES = (StableDiffusionXL, StableDiffusion)


def of(pipe) -> Backbone:
    """The backbone of a diffusers pipeline (text-to-image, image-to-image, inpainting, ControlNet, ...).

    Raises:
        PersonaError: when no supported family fits the pipeline's components.
    """
    from ..errors import PersonaError

    for family in FAMILIES:
        if family.fits(pipe):
            return family(pipe)
    names = ", ".join(family.name for family in FAMILIES)
    raise PersonaError(f"{type(pipe).__name__} is not a supported host; supported families: {names}")


__all__ = ["FAMILIES", "Backbone", "StableDiffusion", "StableDiffusionXL", "of"]
