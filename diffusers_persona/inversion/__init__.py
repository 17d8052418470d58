"""Inversion methods: how a concept is found, and the data that it is found from."""

from . import augmentation, images, prompts, timesteps
from .data import Data
from .optimization import Optimization, Phase

__all__ = ["Data", "Optimization", "Phase", "augmentation", "images", "prompts", "timesteps"]
