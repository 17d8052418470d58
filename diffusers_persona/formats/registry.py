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
        face_words,
        image_attention,
        ip_adapter,
        late_text,
        merged_lora,
        mix_of_show,
        numbered_lora,
        orthogonal,
        perfusion,
        pipeline,
        signatures,
        spectral,
        text_embeddings,
        text_spaces,
        textboost,
        tuneqdm,
        weights,
    )

    return (
        *signatures.OWN,
        *ip_adapter.FORMATS,
        *custom_diffusion.FORMATS,
        *image_attention.FORMATS,
        *bundles.FORMATS,
        *late_text.FORMATS,
        *mix_of_show.FORMATS,
        *merged_lora.FORMATS,
        *numbered_lora.FORMATS,
        *textboost.FORMATS,
        *adapters.FORMATS,
        *orthogonal.FORMATS,
        *spectral.FORMATS,
        *perfusion.FORMATS,
        *tuneqdm.FORMATS,
        *signatures.FORMATS,
        *weights.FORMATS,
        *face_words.FORMATS,
        *text_spaces.FORMATS,
        *text_embeddings.FORMATS,
        *pipeline.FORMATS,
    )
