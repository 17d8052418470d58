"""Losses: what learning minimises. A loss is a frozen declaration that is called with one `Step`."""

from .denoising import Denoising, PriorPreservation
from .step import Loss, Step, World

__all__ = ["Denoising", "Loss", "PriorPreservation", "Step", "World"]
