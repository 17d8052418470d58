"""Personalization schemes: how a concept is used, alone or with others."""

from .merging_columns import ColumnMerge, PredictedMerge, train_merging_network
from .merging_features import GradientFusion
from .merging_keys import ConstrainedKeyValueMerge
from .merging_low_rank import ContentAndStyle, Sum
from .merging_neurons import NeuronUnion
from .merging_parts import Materials, only
from .prompting import Prompting
from .reference import with_reference
from .spatial import SpatialInversion

__all__ = [
    "ColumnMerge",
    "ConstrainedKeyValueMerge",
    "ContentAndStyle",
    "GradientFusion",
    "Materials",
    "NeuronUnion",
    "PredictedMerge",
    "Prompting",
    "SpatialInversion",
    "Sum",
    "only",
    "train_merging_network",
    "with_reference",
]
