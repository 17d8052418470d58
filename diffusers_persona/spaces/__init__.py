"""Inversion spaces: where a concept lives. A space is a frozen declaration that loads torch only when used."""

from .base import Grip, Learner, Part, Space, Subject
from .hadamard import Hadamard
from .kronecker import Kronecker
from .low_rank import LowRank
from .p_plus import PPlus
from .weights import KeyWeights, Weights
from .word import Word

KINDS = {space.kind: space for space in (Word, LowRank, Hadamard, Kronecker, Weights, KeyWeights, PPlus)}

__all__ = [
    "KINDS",
    "Grip",
    "Hadamard",
    "KeyWeights",
    "Kronecker",
    "Learner",
    "LowRank",
    "PPlus",
    "Part",
    "Space",
    "Subject",
    "Weights",
    "Word",
]
