"""Losses: what learning minimises. A loss is a frozen declaration that is called with one `Step`."""

from .attention import AttentionCalibration, AttentionInMasks, ReferenceAttention
from .clean import Insertion, NoisyThenClean
from .context import Anchor, ContextAttention, ContextEmbedding
from .contrastive import Orthogonality, WordSteering
from .denoising import Denoising, PriorPreservation
from .distillation import ConsistencyPreference, DerivedClass, PromptAlignment
from .guided import GuidedDenoising, GuidedReconstruction
from .identity import Identity
from .image_branch import Disentangled, ImageConditioned
from .masked import AttendedDenoising, UnionDenoising
from .nearness import StayNear
from .own_pictures import OwnPictures, Refocusing
from .prompt_contrast import PromptContrast
from .side_by_side import MergerOverlap
from .step import Loss, Step, World
from .text import KnowledgePreservation, OtherTokens
from .vocabulary import DenoisingWithout, OwnPenalty

__all__ = [
    "DenoisingWithout",
    "OwnPenalty",
    "Anchor",
    "AttendedDenoising",
    "AttentionCalibration",
    "AttentionInMasks",
    "ConsistencyPreference",
    "ContextAttention",
    "ContextEmbedding",
    "Denoising",
    "DerivedClass",
    "Disentangled",
    "GuidedDenoising",
    "GuidedReconstruction",
    "Identity",
    "ImageConditioned",
    "Insertion",
    "KnowledgePreservation",
    "Loss",
    "MergerOverlap",
    "NoisyThenClean",
    "Orthogonality",
    "OtherTokens",
    "OwnPictures",
    "PriorPreservation",
    "PromptAlignment",
    "PromptContrast",
    "ReferenceAttention",
    "Refocusing",
    "StayNear",
    "Step",
    "UnionDenoising",
    "WordSteering",
    "World",
]
