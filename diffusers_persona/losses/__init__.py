"""Losses: what learning minimises. A loss is a frozen declaration that is called with the tensors of one step."""

from .denoising import Denoising, PriorPreservation

__all__ = ["Denoising", "PriorPreservation"]
