"""A concept that looks at a reference picture is shown another one."""

from __future__ import annotations

from ..errors import PersonaError


def with_reference(concept, pipe, picture, resolution: int | None = None):
    """A copy of `concept` whose image attention looks at `picture`; `concept` stays as it is.

    Args:
        concept: one with `spaces.ImageAttention`.
        pipe: the pipeline that it is for, which encodes the picture.
        picture: what `learn` takes as pictures; the first one counts.
        resolution: side in pixels; None for the pipeline's own.

    Raises:
        PersonaError: for a concept without image attention, or a picture that cannot be read.
    """
    import torch

    from .. import backbones
    from ..concept import Concept
    from ..inversion.images import load_images
    from ..spaces.image_attention import REFERENCE

    host = backbones.of(pipe)
    places = [i for i, space in enumerate(concept.spaces) if space.kind == "image_attention"]
    if not places:
        raise PersonaError(f"{concept!r} looks at no reference picture; it is for recipes such as vico")
    resolution = resolution or host.resolution
    pixels = load_images(picture, resolution=resolution).pixels(resolution)[:1]
    with torch.no_grad():
        latents = host.encode_images(pixels)[0].float().cpu()
    new = {f"{i}.image_attention.{REFERENCE}": latents for i in places}
    return Concept(header=concept.header, tensors=concept.tensors | new, scores=concept.scores)
