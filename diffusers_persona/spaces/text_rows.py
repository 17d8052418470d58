"""What spaces that act on a text encoder's output share: which rows they act on, and the encoder run once more."""

from __future__ import annotations

from ..errors import PersonaError


def word_ids(host, encoder: str, word: str) -> list[int]:
    """The token ids of an ordinary word; the tokenizer's padding state, which is saved with it, stays as it is.

    Raises:
        PersonaError: when the tokenizer makes nothing of it.
    """
    ids = _ids(host.tokenizers[encoder], word, special=False)
    if not ids:
        raise PersonaError(f"the tokenizer makes nothing of the class word {word!r}; give another noun=")
    return ids


def empty_row(host, encoder: str, length: int) -> list[int]:
    """The token ids of the empty prompt, padded to `length`."""
    tokenizer = host.tokenizers[encoder]
    ids = _ids(tokenizer, "", special=True)
    return ids + [tokenizer.pad_token_id] * (length - len(ids))


def _ids(tokenizer, text: str, special: bool) -> list[int]:
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=special)
    return [token for token, real in zip(encoding.ids, encoding.attention_mask) if real]


def rerun(host, encoder: str, ids):
    """The state [B, L, d] that the host's text encoder gives for ids [B, L], without the edits of its output."""
    return type(host).text_state(host.text_encoders[encoder].forward(ids, output_hidden_states=True))


def learned(tensors, key: str, shape: tuple):
    """The tensor `key` of a concept, checked: None in `shape` fits any length.

    Raises:
        PersonaError: naming the key and the shapes.
    """
    tensor = tensors.get(key)
    fits = tensor is not None and tensor.ndim == len(shape)
    if not fits or any(want not in (None, have) for want, have in zip(shape, tensor.shape)):
        present = "no tensor" if tensor is None else f"shape {tuple(tensor.shape)}"
        wanted = ", ".join("n" if side is None else str(side) for side in shape)
        raise PersonaError(
            f"key {key!r} has {present}, the text encoder needs [{wanted}]; "
            "attach the concept to the kind of model that it was learned on"
        )
    return tensor


def width(host, encoder: str) -> int:
    """Width d of a text encoder's states."""
    return host.text_encoders[encoder].get_input_embeddings().embedding_dim


def refuse_window(grip):
    """What acts on the text cannot be limited to a part of the denoising.

    Raises:
        PersonaError: when `grip` has a window.
    """
    if grip.bus is not None:
        raise PersonaError(
            "a concept in the text encoder's output cannot be limited to a window of the denoising: the prompt is "
            "encoded once, before it; attach without window="
        )
