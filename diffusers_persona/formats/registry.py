"""The one list of formats, from the most special to the most general: the first that recognises a file has it."""

from __future__ import annotations

import functools

from .base import Format


@functools.cache
def formats() -> tuple[Format, ...]:
    """All formats, in the order in which they are asked. Loads no torch."""
    from . import (
        adapters,
        bundles,
        custom_diffusion,
        ip_adapter,
        merged_lora,
        orthogonal,
        perfusion,
        pipeline,
        signatures,
        spectral,
        text_embeddings,
        tuneqdm,
        weights,
    )

    return (
        *signatures.OWN,
        *ip_adapter.FORMATS,
        *custom_diffusion.FORMATS,
        *bundles.FORMATS,
        *merged_lora.FORMATS,
        *adapters.FORMATS,
        *orthogonal.FORMATS,
        *spectral.FORMATS,
        *perfusion.FORMATS,
        *tuneqdm.FORMATS,
        *signatures.FORMATS,
        *weights.FORMATS,
        *text_embeddings.FORMATS,
        *pipeline.FORMATS,
    )
