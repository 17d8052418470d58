"""Personalization schemes: how a concept is used, alone or with others."""

from .merging import ConstrainedKeyValueMerge
from .prompting import Prompting

__all__ = ["ConstrainedKeyValueMerge", "Prompting"]
