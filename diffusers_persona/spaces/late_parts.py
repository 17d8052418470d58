"""What a text that depends on layer or time is made of: words, whole states, and the context that they are read in."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

import torch
from torch import Tensor

from .base import Grip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """Where in the denoiser, and when, each of N texts is read.

    Attributes:
        timesteps: float [N], in the host's training steps.
        layers: int64 [N], number of the block that reads.
        count: number of such blocks.
    """

    timesteps: Tensor
    layers: Tensor
    count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LateRows:
    """A word's vectors in a context: [N, n, d], or [n, d] for all; `bypass` of the same shape or None.

    The bypass acts on the values of the attention only: h + |h| bypass at the word's positions of the text encoder's
    residual state h.
    """

    vectors: Tensor
    bypass: Tensor | None = None


class LateWord:
    """A word of n vectors that depend on where or when they are read.

    Attributes:
        by_layer: whether they depend on the layer.
    """

    by_layer: bool = False

    def __len__(self) -> int:
        raise NotImplementedError

    def stage(self, timestep: float) -> Hashable:
        """A value that is equal for timesteps between which the word does not change."""
        return None

    def at(self, context: Context | None) -> LateRows:
        """The vectors in a context; without one those that stand for all, for texts that are read only once."""
        raise NotImplementedError


class LateState:
    """The whole text state of one prompt, where it depends on where or when it is read.

    Attributes:
        ids: the prompt's token ids, one for each position.
        by_layer: whether it depends on the layer.
    """

    ids: tuple[int, ...]
    by_layer: bool = False

    def stage(self, timestep: float) -> Hashable:
        """A value that is equal for timesteps between which the state does not change."""
        return None

    def at(self, context: Context, state: Tensor) -> Tensor:
        """The states [N, L, d] in a context, in the place of the encoded ones."""
        raise NotImplementedError


class Scaled(LateWord):
    """A late word at the grip's strength: its vectors on the line from the initial ones (0) to the learned (1).

    The strength follows the grip's window: unlike an ordinary word, it can be limited to a part of the denoising.

    Args:
        word: the learned word.
        initial: first vectors [n, d].
    """

    def __init__(self, word: LateWord, initial: Tensor, grip: Grip):
        self.word, self.initial, self.grip = word, initial, grip
        self.by_layer = word.by_layer

    def __len__(self):
        return len(self.word)

    def stage(self, timestep):
        """The word's stage, and the strength."""
        return self.word.stage(timestep), self.grip.strength

    def at(self, context):
        """The blended vectors."""
        strength = self.grip.scale if context is None else self.grip.strength
        now = self.word.at(context)
        bypass = None if now.bypass is None else strength * now.bypass
        return LateRows(vectors=torch.lerp(self.initial.to(now.vectors), now.vectors, strength), bypass=bypass)
