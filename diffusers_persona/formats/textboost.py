"""TextBoost's folder: a text encoder saved with its LoRA inside, and the tokenizer that knows its words beside it."""

from __future__ import annotations

import re

from ..errors import PersonaError
from .base import Format, Hints, Loaded, LoadReport
from .contents import Contents
from .text_embeddings import FAMILY_OF_WIDTH

HALF = re.compile(r"^(?P<layer>.+)\.lora_(?P<half>[AB])(\.\w+)?\.weight$")
TABLE = re.compile(r"embeddings\.token_embedding(\.base_layer)?\.weight$")
WORDS = "../tokenizer/added_tokens.json"


def recognise(contents: Contents) -> bool:
    """A whole text encoder with low-rank factors among its weights."""
    return any(TABLE.search(key) for key in contents.infos) and any(HALF.match(key) for key in contents.infos)


def load(contents: Contents, hints: Hints) -> Loaded:
    """The LoRA, scaled by alpha = rank, and the concept's word; the words of the picture's changes are left out.

    Raises:
        PersonaError: a layer with one factor only, or a word that the tokenizer beside it does not have.
    """
    from ..spaces import LowRank, Word

    found = {key: match for key in contents.infos if (match := HALF.match(key))}
    halves: dict[str, set] = {}
    for match in found.values():
        halves.setdefault(match["layer"], set()).add(match["half"])
    lone = next((layer for layer, present in halves.items() if present != {"A", "B"}), None)
    if lone is not None:
        raise PersonaError(f"{contents.path}: layer {lone} has one of two factors; the file is incomplete")
    tensors = {f"0.low_rank.text_encoder.{m['layer']}.lora_{m['half']}.weight": contents.tensors[k].float()
               for k, m in found.items()}  # fmt: skip
    rank = min(contents.shape(key)[0] for key, match in found.items() if match["half"] == "A")
    targets = sorted({layer.rpartition(".")[2] for layer in halves})
    spaces: list = [LowRank(rank=rank, denoiser=False, text_encoders=True, text_targets=tuple(targets))]
    key = next(key for key in contents.infos if TABLE.search(key))
    token, row = _word(contents, hints)
    if token is not None:
        spaces.append(Word(token=token))
        tensors["1.word.text_encoder.embedding"] = contents.tensors[key][row, None].float().clone()
    matched = (*found, key) if token is not None else tuple(found)
    return Loaded(
        spaces=spaces,
        tensors=tensors,
        report=LoadReport(matched=matched),  # the frozen weights around them are the base model's
        token=token,
        family=FAMILY_OF_WIDTH.get(contents.shape(key)[-1]),
    )


def _word(contents: Contents, hints: Hints) -> tuple[str | None, int]:
    """The concept's word and its row: the first one that was added, or the one that is asked for."""
    added = contents.beside(WORDS) or {}
    if hints.tokens and hints.tokens[0] not in added:
        known = ", ".join(added) or "none"
        raise PersonaError(f"{contents.path}: the tokenizer beside it has no word {hints.tokens[0]!r}, but {known}")
    token = hints.tokens[0] if hints.tokens else min(added, key=lambda word: added[word], default=None)
    return token, added.get(token, 0)


FORMATS = (
    Format(
        kind="textboost",
        title="TextBoost text encoder (official code)",
        layout="`text_model...q_proj.lora_A.default.weight`, `lora_B`, among a text encoder's weights; its word in "
        "`../tokenizer/added_tokens.json`",
        recognise=recognise,
        load=load,
    ),
)
