"""Merges of two low-rank changes by one coefficient for each input column."""

from __future__ import annotations

import torch
from torch import Tensor


def scaled_columns(change: Tensor, columns: Tensor) -> Tensor:
    """W m: each input column j of a change times m_j.

    Args:
        change: W, [out, in] or [out, in, k, k]; or the factor A [r, in] of B A, which scales the same columns.
        columns: m, [in].

    Returns:
        In the shape of `change`. Source: ZipLoRA, arXiv 2311.13600, equation 4.
    """
    return change * columns.to(change).reshape(1, -1, *(1,) * (change.ndim - 2))


def column_merge(first: Tensor, second: Tensor, columns_1: Tensor, columns_2: Tensor) -> Tensor:
    """m_1 W_1 + m_2 W_2, [out, in]. Source: arXiv 2311.13600, equation 4."""
    return scaled_columns(first, columns_1) + scaled_columns(second, columns_2)


def column_overlap(columns_1: Tensor, columns_2: Tensor) -> Tensor:
    """How much two vectors of coefficients [in] lean on the same columns: the mean of |m_1 m_2|, a scalar.

    Source: arXiv 2311.13600, equation 5, as a mean over the columns.
    """
    return (columns_1 * columns_2).abs().mean()


def column_cosine(columns_1: Tensor, columns_2: Tensor) -> Tensor:
    """|cos(m_1, m_2)|, a scalar. Source: LoRA.rar, arXiv 2412.05148, equation 4."""
    return torch.nn.functional.cosine_similarity(columns_1, columns_2, dim=0).abs()


def predicted_columns(first: Tensor, second: Tensor, network: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The coefficients that LoRA.rar's network reads out of two changes of the same layer.

    Args:
        first, second: W_1 and W_2, [out, in].
        network: ``input_<n>.weight`` [h, 2 out] and ``.bias`` for each width of the model's layers,
            ``output.1.weight`` [2, h] and ``.bias``.

    Returns:
        m_1 and m_2, each [in]: a two-layer perceptron with a ReLU, applied to each pair of columns.

    Raises:
        KeyError: when no input layer has the width of this layer.
    """
    columns = torch.cat([first, second]).T
    weights = {name.removesuffix(".weight"): w for name, w in network.items() if name.startswith("input_")}
    width = columns.shape[1]
    layer = next((n for n, w in weights.items() if w.ndim == 2 and w.shape[1] == width), None)
    if layer is None:
        raise KeyError(width)
    hidden = torch.relu(columns @ network[f"{layer}.weight"].T + network[f"{layer}.bias"])
    both = hidden @ network["output.1.weight"].T + network["output.1.bias"]
    return both[:, 0], both[:, 1]
