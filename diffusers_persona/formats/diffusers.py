"""The stock files of diffusers: what `load_textual_inversion` and `load_lora_weights` read."""

from __future__ import annotations

import json

LORA_FILE, WORD_FILE = "pytorch_lora_weights.safetensors", "learned_embeds.safetensors"
STOCK_WORD_KEYS = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}


def files(concept) -> dict[str, bytes]:
    """File name -> content of each stock file that the concept's spaces have."""
    found = {}
    for i, space in enumerate(concept.spaces):
        writer = _WRITERS.get(space.kind)
        if writer is not None:
            found |= writer(space, concept.tensors_of(i), concept)
    return found


def learned_embeds(space, tensors, concept) -> dict[str, bytes]:
    """``{token: [n, d]}`` for one text encoder, ``{"clip_l": ..., "clip_g": ...}`` for two."""
    from safetensors.torch import save

    embeddings = {k.removesuffix(".embedding"): v for k, v in tensors.items() if k.endswith(".embedding")}
    if len(embeddings) == 1:
        content = {space.token: next(iter(embeddings.values()))}
    else:
        content = {STOCK_WORD_KEYS[name]: v for name, v in embeddings.items()}
    words = sum(s.kind == "word" for s in concept.spaces)
    name = WORD_FILE if words == 1 else f"{space.token.strip('<>')}_{WORD_FILE}"
    return {name: save({k: v.contiguous() for k, v in content.items()}, metadata={"format": "pt"})}


def lora_weights(space, tensors, concept) -> dict[str, bytes]:
    """diffusers' LoRA layout with the PEFT config in the metadata, without which alpha would be lost."""
    from safetensors.torch import save

    from ..spaces.low_rank import TEXT_TARGETS

    metadata = {}
    for component in sorted({key.split(".", 1)[0] for key in tensors}):
        targets = space.targets if component in ("unet", "transformer") else TEXT_TARGETS
        config = space.peft_config(targets).to_dict()
        metadata |= {f"{component}.{k}": sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    note = {"format": "pt", "lora_adapter_metadata": json.dumps(metadata, indent=2, sort_keys=True, default=str)}
    return {LORA_FILE: save({k: v.contiguous() for k, v in tensors.items()}, metadata=note)}


_WRITERS = {"word": learned_embeds, "low_rank": lora_weights}
