"""ED-LoRA files of Mix-of-Show's official release: words with an embedding a layer, and LoRAs of both networks.

``{"params": {"new_concept_embedding": {word: [16, d]}, "text_encoder": {...}, "unet": {...}}}``. A LoRA acts with the
factor 1 whatever its rank.
"""

from __future__ import annotations

from typing import Any

from ..errors import PersonaError
from . import lora
from .base import Format, Hints, Loaded, LoadReport
from .contents import Contents
from .text_embeddings import FAMILY_OF_WIDTH, licence, write

WORDS, TEXT, DENOISER = "new_concept_embedding.", "text_encoder.", "unet."
_TEXT_MODEL = "text_model."


def _inner(contents: Contents) -> dict[str, str]:
    """Key without ``params.`` -> key."""
    return {key.removeprefix("params."): key for key in contents.infos}


def is_edlora(contents: Contents) -> bool:
    """Whether words with a matrix [layers, d] each stand under ``new_concept_embedding``."""
    found = [contents.infos[key] for name, key in _inner(contents).items() if name.startswith(WORDS)]
    return bool(found) and all(len(info.shape) == 2 for info in found)


def load(contents: Contents, hints: Hints) -> Loaded:
    """One `PPlus` space of all words that follow each other, and the LoRAs.

    The release writes two words a concept, which always stand together: they become one word of two vectors.

    Raises:
        PersonaError: words with different numbers of layers.
    """
    import torch

    from ..spaces import PPlus

    names = _inner(contents)
    words = {name.removeprefix(WORDS): key for name, key in names.items() if name.startswith(WORDS)}
    rows = [contents.tensors[key].float() for key in words.values()]
    if len({row.shape for row in rows}) > 1:
        raise PersonaError(f"{contents.path}: the words {', '.join(words)} have different shapes; save it again")
    others = {name: key for name, key in names.items() if not name.startswith(WORDS)}
    adapter = lora.read({name: contents.tensors[key] for name, key in others.items()})
    token = hints.tokens[0] if hints.tokens else next(iter(words))
    init = ("random", *["noun"] * (len(rows) - 1))
    made: list[tuple[Any, dict]] = [(PPlus(init=init, token=token), {"text_encoder.embedding": torch.stack(rows, 1)})]
    made += lora.spaces(adapter)
    matched = [*words.values(), *(others[name] for name in adapter.matched)]
    return Loaded(
        spaces=[space for space, _ in made],
        tensors={f"{i}.{space.kind}.{k}": v for i, (space, own) in enumerate(made) for k, v in own.items()},
        report=LoadReport(matched=tuple(matched), unused=tuple(others[name] for name in adapter.unused)),
        token=token,
        family=FAMILY_OF_WIDTH.get(rows[0].shape[1]),
        licence=licence(contents),
    )


def save(concept, *, suffix: str | None = None, pipe=None) -> dict[str, bytes] | None:
    """``edlora_model.pth``; None for a LoRA of another kind than a product of two linear layers' weights."""
    from ..spaces.low_rank import DOWN, UP

    params: dict[str, dict] = {"new_concept_embedding": {}, "text_encoder": {}, "unet": {}}
    for i, space in enumerate(concept.spaces):
        tensors = concept.tensors_of(i)
        if space.kind == "p_plus":
            table = tensors.get("text_encoder.embedding")
            if table is None or "text_encoder_2.embedding" in tensors:
                return None
            for n, name in enumerate(_split(space.token, table.shape[1])):
                params["new_concept_embedding"][name] = table[:, n].clone()
            continue
        for path, parts in space.layers(tensors).items():
            network, _, layer = path.partition(".")
            if set(parts) - {DOWN, UP, "alpha"} or network not in params:
                return None
            layer = layer if network == "unet" or layer.startswith(_TEXT_MODEL) else _TEXT_MODEL + layer
            params[network][f"{layer}.lora_down.weight"] = parts[DOWN].clone()
            params[network][f"{layer}.lora_up.weight"] = parts[UP] * space.scaling_of(parts)
    return {"edlora_model.pth": write({"params": params}, ".pth")}


def _split(token: str, count: int) -> list[str]:
    """The names of a word's vectors: ``<toy1>``, ``<toy2>`` as in the release."""
    if count == 1:
        return [token]
    stem, end = (token[:-1], ">") if token.endswith(">") else (token, "")
    return [f"{stem}{n + 1}{end}" for n in range(count)]


def _facts(contents: Contents) -> dict[str, Any]:
    names = _inner(contents)
    return {
        "words": ", ".join(name.removeprefix(WORDS) for name in names if name.startswith(WORDS)),
        "LoRA layers": sum(name.endswith("lora_up.weight") for name in names),
    }


FORMATS = (
    Format(
        kind="ed-lora",
        title="ED-LoRA (Mix-of-Show)",
        layout="`{params: {new_concept_embedding: {word: [16, d]}, text_encoder: {*.lora_down.weight}, unet: {...}}}`",
        recognise=is_edlora,
        load=load,
        save=save,
        writes=("original",),
        holds=("p_plus", "low_rank"),
        suffixes=(".pth",),
        facts=_facts,
    ),
)
