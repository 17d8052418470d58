"""Concept tokens: new words that a tokenizer understands while concepts are attached; its vocabulary stays.

The tokenizer object stays the user's own and keeps its state; only its class is exchanged for a subclass that encodes
text with a private copy which also knows the concept tokens. Saving writes the stock vocabulary.
"""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError

if TYPE_CHECKING:
    from torch import Tensor

    from .late_text import Context, LateRows, LateWord


def pieces(tokenizer, text: str) -> list[str]:
    """The tokens of `text` without special tokens; unlike a call, it leaves the tokenizer's padding state alone."""
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    return [token for token, real in zip(encoding.tokens, encoding.attention_mask) if real]


def knows(tokenizer, token: str) -> bool:
    """Whether `token` is one token of the tokenizer already."""
    return token in tokenizer.get_vocab() or len(pieces(tokenizer, token)) == 1


def positions(tokenizer, prompt: str, word: str) -> list[int]:
    """Where the tokens of `word` stand in the encoded `prompt` (the start token is number 0), in ascending order."""
    ids, part = tokenizer(prompt)["input_ids"], tokenizer(word, add_special_tokens=False)["input_ids"]
    starts = [i for i in range(len(ids) - len(part) + 1) if part and ids[i : i + len(part)] == part]
    return sorted({start + offset for start in starts for offset in range(len(part))})


def stock_copy(tokenizer):
    """A copy of the tokenizer without the concepts' words."""
    tokens = tokenizer.__dict__.pop("_persona_tokens", None)
    if tokens is None:
        return copy.deepcopy(tokenizer)
    tokenizer.__class__ = tokens.stock_class
    try:
        return copy.deepcopy(tokenizer)
    finally:
        tokenizer.__class__ = _dressed(tokens.stock_class)
        tokenizer.__dict__["_persona_tokens"] = tokens


class ConceptTokens:
    """The words that concepts have brought to one tokenizer.

    `tables` maps a token, e.g. ``"<toy>"``, to its n embedding vectors: a tensor [n, d], or a `late_text.LateWord`
    whose vectors depend on layer or time. In a prompt the token takes n positions.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.stock_class = type(tokenizer)
        self.tables: dict[str, Tensor | LateWord] = {}
        self._now: dict[str, LateRows] = {}
        self._encoder: Any = None
        self._known = -1

    @classmethod
    def of(cls, tokenizer) -> ConceptTokens:
        """The concept tokens of `tokenizer`, made on first use."""
        state = tokenizer.__dict__.get("_persona_tokens")
        if state is None:
            state = tokenizer.__dict__["_persona_tokens"] = cls(tokenizer)
            tokenizer.__class__ = _dressed(type(tokenizer))
        return state

    def add(self, token: str, table: Tensor | LateWord):
        """Adds `token` with its vectors, a tensor [n, d] or a late word; the same object is asked at each encoding.

        Raises:
            PersonaError: when the tokenizer knows the word already.
        """
        if token in self.tables:
            raise PersonaError(
                f"token {token!r} is taken by a concept that is attached already; detach it, or learn "
                "with another token"
            )
        if knows(self.tokenizer, token):
            raise PersonaError(
                f"token {token!r} is a word that the tokenizer knows already; choose a new one such as '<my-concept>'"
            )
        self.tables[token] = table
        self._known = -1

    def remove(self, token: str):
        """Forgets `token`; with the last one the tokenizer is stock again."""
        del self.tables[token]
        self._known = -1
        if not self.tables:
            self.tokenizer.__class__ = self.stock_class
            del self.tokenizer.__dict__["_persona_tokens"]

    def encoder(self):
        """A private copy of the tokenizer that knows the concept tokens; made anew when the stock one has grown."""
        size = self.stock_class.__len__(self.tokenizer)
        if self._known != size:
            self._encoder = stock_copy(self.tokenizer)
            self._encoder.add_tokens([word for token in sorted(self.tables) for word in self._words(token)])
            self._known = size
        return self._encoder

    def expand(self, text):
        """`text` (str, list of str or None) with every token of n vectors written as its n words."""
        if isinstance(text, (list, tuple)):
            return [self.expand(part) for part in text]
        if isinstance(text, str):
            for token in sorted(self.tables, key=len, reverse=True):
                words = self._words(token)
                if len(words) > 1:
                    text = text.replace(token, " ".join(words))
        return text

    def rows(self) -> dict[int, Tensor]:
        """Token id -> vector [d] or, inside a context, one for each row of the batch [N, d]."""
        found, late = {}, self._late_words()
        for token, table in self.tables.items():
            now = self._now.get(token) or (late[token].at(None) if token in late else None)
            vectors: Any = table if now is None else now.vectors
            found |= {i: vectors[..., n, :] for n, i in enumerate(self.ids(token))}
        return found

    def ids(self, token: str) -> list[int]:
        """The ids of the words that `token` takes in a prompt."""
        return self.encoder().convert_tokens_to_ids(self._words(token))

    def late(self) -> dict[int, LateWord]:
        """Token id -> late word, of the tokens whose vectors depend on layer or time."""
        return {i: word for token, word in self._late_words().items() for i in self.ids(token)}

    def _late_words(self) -> dict[str, LateWord]:
        from .late_text import LateWord

        return {token: table for token, table in self.tables.items() if isinstance(table, LateWord)}

    @contextlib.contextmanager
    def inside(self, context: Context):
        """Each late word is evaluated once in `context`; `rows` and `bypasses` give that until the end."""
        self._now = {token: word.at(context) for token, word in self._late_words().items()}
        try:
            yield
        finally:
            self._now = {}

    def bypasses(self) -> dict[int, Tensor]:
        """Token id -> textual bypass [N, d], inside a context, of the words that have one."""
        return {
            i: now.bypass[..., n, :]
            for token, now in self._now.items()
            if now.bypass is not None
            for n, i in enumerate(self.ids(token))
        }

    def _words(self, token: str) -> list[str]:
        return [token, *(f"{token}_{i}" for i in range(1, len(self.tables[token])))]


_CLASSES: dict[type, type] = {}


def _dressed(stock: type) -> type:
    """The subclass of `stock` that encodes and decodes with the concept tokens' private copy."""
    if stock not in _CLASSES:

        def call(self, text=None, text_pair=None, *args, **kwargs):
            tokens = self.__dict__["_persona_tokens"]
            return tokens.encoder()(tokens.expand(text), tokens.expand(text_pair), *args, **kwargs)

        def forward(name):
            def method(self, *args, **kwargs):
                return getattr(self.__dict__["_persona_tokens"].encoder(), name)(*args, **kwargs)

            return method

        forwarded = ("decode", "batch_decode", "convert_ids_to_tokens", "convert_tokens_to_ids", "tokenize", "encode")
        body = {name: forward(name) for name in forwarded if hasattr(stock, name)}
        body |= {
            "__call__": call,
            "__module__": stock.__module__,
            "__qualname__": stock.__qualname__,
            "__doc__": stock.__doc__,
        }
        _CLASSES[stock] = type(stock.__name__, (stock,), body)
    return _CLASSES[stock]
