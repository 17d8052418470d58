"""A word whose vectors are written by something that learns (a network, a projection); what stays is a plain word."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .base import Grip, Learner, Subject
from .word import Word

if TYPE_CHECKING:
    from torch import Tensor, nn


def written(
    host,
    subject: Subject,
    space,
    *,
    parameters: dict[str, nn.Parameter],
    initial: dict[str, Tensor],
    write: Callable[[list[int] | None], dict[str, Tensor]],
    further: Callable[[], dict[str, Tensor]] = dict,
) -> Learner:
    """The learner of a word that `write` gives anew before each forward pass.

    The concept keeps what `write` gives at the end, under the names that `Word` uses.

    Args:
        space: the declaration, of kind ``"word"``.
        parameters: what learns.
        initial: text encoder's name -> the vectors [n, d] that a strength of 0 means.
        write: numbers of the pictures of a batch, or None for all -> text encoder's name -> vectors [n, d], with
            gradient.
        further: gives further tensors that belong into the concept's file.
    """
    import torch

    from .tokens import ConceptTokens

    word = subject.word(space)

    def follow(batch, timesteps):
        for name, vectors in write(batch.pictures[: batch.concept_rows]).items():
            ConceptTokens.of(host.tokenizers[name]).tables[word] = vectors

    @torch.no_grad()
    def export():
        return {f"{name}.embedding": vectors for name, vectors in write(None).items()} | further()

    with torch.no_grad():
        Word(vectors=space.vectors)._install(host, word, write(None), Grip(key=()))
    constants = {f"{name}.initial": vectors for name, vectors in initial.items()}
    return Learner(parameters=parameters, constants=constants, follow=follow, export=export)


def named_parameters(networks: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    """The parameters of several networks under one name each: ``"<network>.<parameter>"``."""
    return {f"{name}.{path}": p for name, network in networks.items() for path, p in network.named_parameters()}
