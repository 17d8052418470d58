"""The image branch of DisenBooth: what belongs to one picture and not to the concept.

Source: Chen et al., DisenBooth, arXiv 2305.03374, section 3.2 and equations 3 to 6.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F


def masked_residual(feature: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """A(f) = MLP(m f) + m f with m = sigmoid(mask).

    Args:
        feature: embeddings of pictures [B, d].
        weights: ``adapter.0.weight`` [h, d], ``adapter.0.bias``, ``adapter.2.weight`` [d, h], ``adapter.2.bias``,
            ``mask`` [d]; and ``output.weight`` [w, d] where the text has another width.

    Returns:
        [B, w], or [B, d] without ``output.weight``.
    """
    masked = weights["mask"].sigmoid() * feature
    hidden = F.relu(F.linear(masked, weights["adapter.0.weight"], weights["adapter.0.bias"]))
    adapted = F.linear(hidden, weights["adapter.2.weight"], weights["adapter.2.bias"]) + masked
    return F.linear(adapted, weights["output.weight"]) if "output.weight" in weights else adapted


def mean_text_cosine(text: Tensor, image: Tensor, eps: float = 1e-6) -> Tensor:
    """Cosine of each text's mean state and its picture's vector.

    Args:
        text: [B, L, w].
        image: [B, w].

    Returns:
        [B].
    """
    return F.cosine_similarity(text.mean(1), image, dim=1, eps=eps)
