"""What a loss sees of one learning step, and the further passes that it may ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from ..attention.store import AttentionView
    from ..backbones import Backbone
    from ..spaces.base import Learner, Subject

NEEDS = ("stock", "attention", "pixels")


class Loss(Protocol):
    """A frozen declaration that is called with a `Step` and gives a scalar, its `weight` included.

    ``needs`` names what a run must keep ready for it: ``"stock"`` (a frozen twin of the host), ``"attention"``
    (cross-attention maps), ``"pixels"`` (the VAE). A loss on pictures of the class has their number as ``count``.
    """

    needs: ClassVar[tuple[str, ...]]
    weight: float

    def __call__(self, step: Step) -> Tensor: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """Where a step happens: the models, and the concept that is learned.

    Attributes:
        host: the private clone that is trained.
        stock: its frozen twin, where a loss needs ``"stock"``.
        subject: the concept, before learning.
        learners: kind of a space -> its learners, in the recipe's order.
        text, stock_text: prompts -> conditions of the two hosts.
        schedule: the host's forward process.
        autocast: makes the context in which models compute.
        store: the attention maps, where a loss needs ``"attention"``.
        memory: a place for what a loss keeps from step to step; not saved in checkpoints, so for caches only.
    """

    host: Backbone
    stock: Backbone | None
    subject: Subject
    learners: dict[str, list[Learner]]
    text: Any
    stock_text: Any
    schedule: Any
    autocast: Callable
    store: Any = None
    memory: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(kw_only=True)
class Step:
    """The tensors of one forward pass; rows of the concept first, rows of the prior after them.

    Attributes:
        prediction, target: what the denoiser gave and what it should give, [B, c, h, w].
        noise, noisy, latents: [B, c, h, w]; timesteps: [B].
        masks: weights [B, 1, h, w] in [0, 1], or None.
        part_masks: those of each thing that is learned from the pictures, [B, parts, h, w], or None.
        concept_rows: number of rows that show the concept.
        prompts, pictures: each row's prompt, and the index of its picture (-1 for pictures of the class).
        conditions: the rows' text conditions.
        number, steps: this optimiser step (0-based) of how many.
        attention: this pass's cross-attention maps, where a loss needs them.
        world: the models.
    """

    prediction: Tensor
    target: Tensor
    masks: Tensor | None
    concept_rows: int
    part_masks: Tensor | None = None
    noise: Any = None
    noisy: Any = None
    latents: Any = None
    timesteps: Any = None
    prompts: list[str] = dataclasses.field(default_factory=list)
    pictures: list[int] = dataclasses.field(default_factory=list)
    conditions: dict = dataclasses.field(default_factory=dict)
    number: int = 0
    steps: int = 1
    attention: AttentionView | None = None
    world: Any = None

    @property
    def host(self) -> Backbone:
        """The host that learns."""
        return self.world.host

    @property
    def subject(self) -> Subject:
        """The concept, before learning."""
        return self.world.subject

    @property
    def learners(self) -> dict[str, list[Learner]]:
        """Kind of a space -> its learners."""
        return self.world.learners

    def encode(self, prompts: list[str]) -> dict:
        """Text conditions of `prompts` by the host that learns, with gradient where they are learned."""
        with self.world.autocast():
            return self.world.text.of(prompts)

    def stock_encode(self, prompts: list[str]) -> dict:
        """Text conditions of `prompts` by the frozen twin."""
        with self.world.autocast():
            return self.world.stock_text.of(prompts)

    def denoise(self, noisy, timesteps, conditions: dict) -> Tensor:
        """One more prediction of the host that learns."""
        with self.world.autocast():
            return self.world.host.denoise(noisy, timesteps, conditions)

    def attend(self, noisy, timesteps, conditions: dict) -> tuple[Tensor, AttentionView]:
        """One more prediction of the host that learns, and its attention maps."""
        prediction = self.denoise(noisy, timesteps, conditions)
        return prediction, self.world.store.take()

    def stock_denoise(self, noisy, timesteps, conditions: dict) -> Tensor:
        """The frozen twin's prediction, without gradient."""
        import torch

        with torch.no_grad(), self.world.autocast():
            return self.world.stock.denoise(noisy, timesteps, conditions)

    def clean(self, prediction, noisy, timesteps) -> Tensor:
        """The clean latents that a prediction of the noise (or of v) means, [B, c, h, w]."""
        from ..functional.diffusion import clean_estimate

        schedule = self.world.schedule
        alphas = schedule.alphas_cumprod.to(noisy.device, noisy.dtype)[timesteps]
        return clean_estimate(prediction, noisy, alphas, schedule.config.prediction_type)

    def decode(self, latents) -> Tensor:
        """Pictures [B, 3, H, W] in about [-1, 1] of clean latents, with gradient."""
        with self.world.autocast():
            return self.world.host.decode_latents(latents)

    def positions(self, prompt: str, word: str) -> list[int]:
        """Where the tokens of `word` stand in `prompt`, for the first text encoder; empty when it is not there."""
        from ..spaces.tokens import positions

        tokenizers = self.world.host.tokenizers
        return positions(tokenizers[self.world.host.encoder_names[0]], prompt, word)
