"""First values of words, computed from pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attended_embedding(images: Tensor, sentences: Tensor, tokens: Tensor, sharpness: float = 1.0) -> Tensor:
    """A token embedding [d] of length 1: pictures attend over sentences of class words and read their embeddings.

    Source: Fei et al., Gradient-Free Textual Inversion, arXiv 2304.05818, section 3.2 (attention without parameters).

    Args:
        images: unit features of the pictures, [N, D].
        sentences: unit features of a sentence for each class word, [C, D].
        tokens: the class words' token embeddings, [C, d].
        sharpness: factor of the dot products before the softmax.
    """
    attention = (sharpness * images @ sentences.T).softmax(-1)
    return F.normalize((attention @ tokens).mean(0), dim=-1)


def principal_map(table: Tensor, dimensions: int) -> Tensor:
    """The first principal directions [k, d] of a table's rows [V, d], each as long as the rows spread along it."""
    centred = table - table.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / (len(table) - 1))
    order = values.argsort(descending=True)[:dimensions]
    return vectors[:, order].T * values[order].clamp(min=0).sqrt()[:, None]
