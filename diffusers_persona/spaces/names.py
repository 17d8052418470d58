"""People's names that a host knows: where new faces are looked for among its words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PersonaError

if TYPE_CHECKING:
    from torch import Tensor

CELEBRITIES = Path(__file__).with_name("celebrities.txt")
ENOUGH = 16
"""From so many names of two known tokens on, others are left out."""


def names(which) -> tuple[str, ...]:
    """Full names of two words.

    Args:
        which: ``"celebrities"`` (our own list of well-known people), ``"toybox"`` (the people of the miniature world),
            or the names themselves.

    Raises:
        PersonaError: for an unknown list, or names that are not two words each.
    """
    if which == "celebrities":
        return tuple(CELEBRITIES.read_text(encoding="utf-8").splitlines())
    if which == "toybox":
        from ..toybox.vocabulary import PEOPLE

        return tuple(PEOPLE)
    if isinstance(which, str):
        raise PersonaError(f"names={which!r}: give 'celebrities', 'toybox', or a tuple of full names")
    wrong = [name for name in which if len(name.split()) != 2]
    if wrong or len(set(which)) < ENOUGH:
        raise PersonaError(
            f"names={(wrong or list(which))[:3]}: give at least {ENOUGH} names of a first and a last name each"
        )
    return tuple(dict.fromkeys(which))


def name_vectors(encoder, tokenizer, which) -> tuple[Tensor, Tensor]:
    """Token embeddings [n, d] of the first and of the last names that the tokenizer knows as one token each.

    A tokenizer that knows hardly any of them gives the first and the last token of each name.
    """
    from .tokens import pieces

    ids = [tokenizer.convert_tokens_to_ids(pieces(tokenizer, name)) for name in names(which)]
    known = [pair for pair in ids if len(pair) == 2]
    pairs = known if len(known) >= ENOUGH else ids
    table = encoder.get_input_embeddings().weight.detach().float().cpu()
    return table[[pair[0] for pair in pairs]], table[[pair[-1] for pair in pairs]]


def mean_name_output(encoder, tokenizer, which) -> Tensor:
    """What the text encoder makes of a mean first name and a mean last name, [2, d].

    The prompt is the two mean embeddings alone; the states at their positions are the result.

    Source: Pang et al., Cross Initialization, arXiv 2312.15905, section 3.2.
    """
    import torch

    inner = getattr(encoder, "text_model", encoder)
    means = torch.stack([column.mean(0) for column in name_vectors(encoder, tokenizer, which)])
    ids = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt").input_ids
    ids = torch.cat([ids[:, :1], ids[:, 1:2].expand(-1, 2), ids[:, 1:-2]], dim=1).to(encoder.device)

    def place(module, args, kwargs, output):
        positions = module.position_embedding(torch.arange(1, 3, device=output.device))
        return torch.cat([output[:, :1], (means.to(output) + positions)[None], output[:, 3:]], dim=1)

    handle = inner.embeddings.register_forward_hook(place, with_kwargs=True)
    try:
        with torch.no_grad():
            return encoder(ids).last_hidden_state[0, 1:3].float().cpu()
    finally:
        handle.remove()
