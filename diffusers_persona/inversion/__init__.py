"""Inversion methods: how a concept is found, and the data that it is found from."""

from . import augmentation, collage, images, null_text, paired, prompts, rehearsal, timesteps, vocabulary
from .data import Data
from .optimization import Optimization, Phase
from .search import Search

__all__ = [
    "Data",
    "Optimization",
    "Phase",
    "Search",
    "augmentation",
    "collage",
    "images",
    "null_text",
    "paired",
    "prompts",
    "rehearsal",
    "timesteps",
    "vocabulary",
]
