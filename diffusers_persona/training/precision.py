"""Precisions of learning: what the frozen weights are kept and computed in; what is learned is always float32."""

from __future__ import annotations

import torch

from ..errors import PersonaError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AUTO = "auto"


def resolve(precision: str, *, miniature: bool, device) -> str:
    """The precision that a run takes: the caller's, or for ``"auto"`` the one that suits model and device.

    ``"auto"`` is bf16 where the device computes in it, which halves the memory of the frozen weights; fp32 for
    miniature hosts, where there is nothing to gain.

    Raises:
        PersonaError: for an unknown precision.
    """
    if precision == AUTO:
        return "bf16" if not miniature and _computes_bf16(torch.device(device).type) else "fp32"
    if precision not in PRECISIONS:
        raise PersonaError(f"precision={precision!r}: choose one of {', '.join(PRECISIONS)}, or {AUTO}")
    return precision


def _computes_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
