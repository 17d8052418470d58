"""Inversion spaces: where a concept lives. A space is a frozen declaration that loads torch only when used."""

from .base import Grip, Learner, Part, Space, Subject
from .faces import CelebBasis, NameStatistics
from .hadamard import Hadamard
from .image_attention import ImageAttention
from .image_branch import ImageBranch
from .image_word import ImageWord
from .kronecker import Kronecker
from .low_rank import LowRank
from .neurons import ConceptNeurons, neuron_fractions
from .null_text import NullText
from .opposed_word import OpposedWord
from .orthogonal import Orthogonal
from .p_plus import PPlus
from .prompt_net_word import PromptNetWord
from .quantised import QuantisedScales
from .rank_one import RankOne, with_gate
from .searched import SearchedWord
from .space_time import SpaceTime
from .spectral import Spectral, SpectralVectors
from .stages import Stages
from .stock_text import StockText
from .text_output import TextOutput
from .text_prefix import TextPrefix
from .text_residual import TextResidual
from .tuned_text import TunedText
from .vocabulary_word import VocabularyWord
from .weights import KeyWeights, Weights
from .word import Word

KINDS = {
    space.kind: space
    for space in (
        Word,
        PromptNetWord,
        LowRank,
        Hadamard,
        Kronecker,
        Weights,
        KeyWeights,
        PPlus,
        SpaceTime,
        Stages,
        NullText,
        Orthogonal,
        Spectral,
        SpectralVectors,
        RankOne,
        ConceptNeurons,
        QuantisedScales,
        TextOutput,
        TextResidual,
        TextPrefix,
        StockText,
        TunedText,
        ImageBranch,
        ImageAttention,
    )
}

__all__ = [
    "KINDS",
    "CelebBasis",
    "ConceptNeurons",
    "Grip",
    "Hadamard",
    "ImageAttention",
    "ImageBranch",
    "ImageWord",
    "KeyWeights",
    "Kronecker",
    "Learner",
    "LowRank",
    "NameStatistics",
    "NullText",
    "Orthogonal",
    "OpposedWord",
    "PPlus",
    "Part",
    "PromptNetWord",
    "QuantisedScales",
    "RankOne",
    "SearchedWord",
    "Space",
    "SpaceTime",
    "Stages",
    "StockText",
    "Spectral",
    "SpectralVectors",
    "Subject",
    "TextOutput",
    "TextPrefix",
    "TextResidual",
    "TunedText",
    "VocabularyWord",
    "Weights",
    "Word",
    "neuron_fractions",
    "with_gate",
]
