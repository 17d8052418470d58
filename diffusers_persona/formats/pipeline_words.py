"""Words of a fine-tuned pipeline: rows that its token tables have beyond those of the base, and what they are called.

Break-A-Scene and the scripts of Textual Inversion leave such folders. Names come from the tokenizer's JSON files.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DamagedError, PersonaError
from .base import Hints

if TYPE_CHECKING:
    from torch import Tensor

TABLE = "token_embedding.weight"
_FURTHER = re.compile(r"(?P<word>.+)_(?P<number>[1-9]\d*)")


def take_words(
    folder: Path, host, networks: dict[str, dict[str, Tensor]], hints: Hints
) -> dict[str, dict[str, Tensor]]:
    """Word -> text encoder -> vectors [n, d]; the tables in `networks` are cut to the rows of the base.

    Raises:
        PersonaError: for rows without a name, or a number of tokens that does not fit.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, tokenizer_name in zip(host.encoder_names, host.tokenizer_names):
        tensors, count = networks[name], host.component(name).get_input_embeddings().num_embeddings
        key = next((key for key in tensors if key.endswith(TABLE)), None)
        if key is None or len(tensors[key]) <= count:
            continue
        table, names = tensors[key], _names(folder / tokenizer_name)
        for row in range(count, len(table)):
            if row not in names:
                raise PersonaError(
                    f"{folder / name}: row {row} of {key!r} has no name in {tokenizer_name}; give the base with its "
                    "words"
                )
            further = _FURTHER.fullmatch(names[row])
            word = further["word"] if further and further["word"] in found else names[row]
            found.setdefault(word, {}).setdefault(name, []).append(table[row].float())
        tensors[key] = table[:count]
    return _renamed({w: {n: _stack(rows) for n, rows in own.items()} for w, own in found.items()}, hints, folder)


def _stack(rows):
    import torch

    return torch.stack(rows)


def _renamed(words, hints: Hints, folder):
    if not words or not hints.tokens:
        return words
    if len(hints.tokens) != len(words):
        raise PersonaError(
            f"{folder} brings {len(words)} word(s) ({', '.join(words)}), token= names {len(hints.tokens)}; "
            "give one for each"
        )
    return dict(zip(hints.tokens, words.values()))


def _names(folder: Path) -> dict[int, str]:
    """Token id -> word, of all words that were added to a tokenizer."""
    found: dict[int, str] = {}
    for entry in _read(folder / "tokenizer.json").get("added_tokens", ()):
        found[int(entry["id"])] = str(entry["content"])
    for number, entry in _read(folder / "tokenizer_config.json").get("added_tokens_decoder", {}).items():
        found[int(number)] = str(entry["content"])
    found |= {int(number): str(word) for word, number in _read(folder / "added_tokens.json").items()}
    return found


def _read(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: not readable JSON ({error}); copy the folder again") from error
    return content if isinstance(content, dict) else {}
