"""The world's tokenizer: a word-level vocabulary in CLIPTokenizer's BPE format.

Every world word is one token, any other text falls apart into characters, and the special tokens come last.
"""

import json
import re
from pathlib import Path

from . import vocabulary as v

MAX_LENGTH = 32
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789!\"#$%&'()*+,-./:;<=>?@[]_{|}~"


def world_words() -> list[str]:
    """Every word that is one token, lower case, shortest first."""
    phrases = (
        *v.NOUNS, *v.HELD_OUT_NOUNS, *v.CLASS_WORDS, *v.SCENES, *v.SCENES.values(), *v.COLOURS, *v.STYLES,
        *v.HELD_OUT_STYLES, *v.RELATIONS, *v.HELD_OUT_RELATIONS, *v.SIZES, *v.PERSON_WORDS, *v.HAIR_COLOURS, *v.MOUTHS,
        *v.EYES, *v.HATS, *v.PEOPLE, *v.HELD_OUT_PEOPLE, v.CAPTION_WORDS, v.SPARE_WORDS, v.TEMPLATE_WORDS,
    )  # fmt: skip
    words = {word for phrase in phrases for word in re.findall("[a-z]+", phrase.lower())}
    return sorted(words, key=lambda word: (len(word), word))


def build_tokenizer(folder: Path):
    """Write vocabulary and merges into `folder` and return the CLIPTokenizer made of them."""
    from transformers import CLIPTokenizer

    vocabulary = [*_CHARACTERS, *(character + "</w>" for character in _CHARACTERS)]
    merges: dict[tuple[str, str], int] = {}
    for word in world_words():
        while len(parts := _split(word, merges)) > 1:
            merges[parts[0], parts[1]] = len(merges)
            if parts[0] + parts[1] not in vocabulary:
                vocabulary.append(parts[0] + parts[1])
    split = [word for word in world_words() if len(_split(word, merges)) > 1]
    if split:
        raise AssertionError(f"words that are not one token: {split}")
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").unlink(missing_ok=True)  # from_pretrained would prefer an older one
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    tokenizer = CLIPTokenizer.from_pretrained(
        folder, model_max_length=MAX_LENGTH, pad_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _split(word: str, merges: dict[tuple[str, str], int]) -> list[str]:
    """The BPE parts of a word under `merges` (lowest rank first)."""
    parts = [*word[:-1], word[-1] + "</w>"]
    while len(parts) > 1:
        ranks = [merges.get(pair, len(merges)) for pair in zip(parts, parts[1:], strict=False)]
        at = min(range(len(ranks)), key=ranks.__getitem__)
        if ranks[at] == len(merges):
            break
        pair, merged, index = (parts[at], parts[at + 1]), [], 0
        while index < len(parts):
            together = tuple(parts[index : index + 2]) == pair
            merged.append("".join(pair) if together else parts[index])
            index += 2 if together else 1
        parts = merged
    return parts
