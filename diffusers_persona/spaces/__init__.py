"""Inversion spaces: where a concept lives. A space is a frozen declaration that loads torch only when used."""

from .base import Grip, Learner, Space, Subject
from .hadamard import Hadamard
from .kronecker import Kronecker
from .low_rank import LowRank
from .weights import KeyWeights, Weights
from .word import Word

KINDS = {space.kind: space for space in (Word, LowRank, Hadamard, Kronecker, Weights, KeyWeights)}

__all__ = [
    "KINDS",
    "Grip",
    "Hadamard",
    "KeyWeights",
    "Kronecker",
    "Learner",
    "LowRank",
    "Space",
    "Subject",
    "Weights",
    "Word",
]
