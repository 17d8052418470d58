"""Personalization schemes: how a concept is used, alone or with others."""

from .branching import branch
from .collage_start import collage_start
from .fusion_sampling import FusionSampling
from .localized import LocalizedResiduals
from .merging_columns import ColumnMerge, PredictedMerge, train_merging_network
from .merging_features import GradientFusion
from .merging_keys import ConstrainedKeyValueMerge
from .merging_layers import LayerMix
from .merging_low_rank import ContentAndStyle, Sum
from .merging_neurons import NeuronUnion
from .merging_parts import Materials, only
from .prompting import Prompting
from .reference import with_reference
from .reward_guidance import RewardGuidance
from .spatial import SpatialInversion

__all__ = [
    "ColumnMerge",
    "ConstrainedKeyValueMerge",
    "ContentAndStyle",
    "GradientFusion",
    "LayerMix",
    "LocalizedResiduals",
    "Materials",
    "NeuronUnion",
    "PredictedMerge",
    "Prompting",
    "FusionSampling",
    "RewardGuidance",
    "collage_start",
    "SpatialInversion",
    "Sum",
    "branch",
    "only",
    "train_merging_network",
    "with_reference",
]
