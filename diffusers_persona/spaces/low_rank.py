"""Low-rank space: W' = W + (alpha / r) B A, trained through PEFT and folded when attached.

Source: Hu et al., LoRA, arXiv 2106.09685, equation 3; rank-stabilised scaling alpha / sqrt(r): arXiv 2312.03732;
    DoRA: arXiv 2402.09353.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from ..errors import PersonaError
from . import adapters
from .base import Grip, Learner, Subject

DOWN, UP, MAGNITUDE = "lora_A.weight", "lora_B.weight", adapters.MAGNITUDE


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRank:
    """A low-rank change of linear and convolutional weights.

    A layer of another rank, or with a tensor ``alpha`` of its own, goes by these in place of the declared numbers.

    Attributes:
        rank: r, the inner width of B A; >= 1.
        alpha: numerator of the scaling; None for alpha = rank.
        targets: ends of module names in the denoiser that are adapted.
        rank_stabilised: scale by alpha / sqrt(r) in place of alpha / r.
        dora: learn the magnitude of each output row apart from its direction.
        dropout: dropout of the adapter's input in learning, in [0, 1).
        text_encoders: adapt the text encoders' attention projections, too.
    """

    kind: ClassVar[str] = "low_rank"
    adds_token: ClassVar[bool] = False

    rank: int = 4
    alpha: float | None = None
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    rank_stabilised: bool = False
    dora: bool = False
    dropout: float = 0.0
    text_encoders: bool = False

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(self.targets))
        if self.rank < 1:
            raise PersonaError(f"LowRank(rank={self.rank}): the rank is at least 1")

    @property
    def trains_text(self) -> bool:
        """True when the text encoders are adapted."""
        return self.text_encoders

    @property
    def scaling(self) -> float:
        """The factor of B A."""
        alpha = self.rank if self.alpha is None else self.alpha
        return alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def peft_config(self, targets, **patterns):
        """The PEFT declaration of this space for modules that end with `targets`."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.rank if self.alpha is None else self.alpha,
            target_modules=list(targets),
            use_rslora=self.rank_stabilised,
            use_dora=self.dora,
            lora_dropout=self.dropout,
            init_lora_weights="gaussian",
            **patterns,
        )

    def prepare(self, host, subject: Subject) -> Learner:
        """PEFT adapters in the clone; parameter names are the stock LoRA file's keys."""
        return adapters.prepare(host, subject, self)

    def layers(self, tensors) -> dict[str, dict]:
        """``<component>.<module path>`` -> part -> tensor.

        Raises:
            PersonaError: for a key that is no part of a low-rank adapter, or a module without both halves.
        """
        return adapters.group(tensors, (DOWN, UP, MAGNITUDE, adapters.ALPHA), ((DOWN,), (UP,)))

    def scaling_of(self, parts) -> float:
        """The factor of one layer's B A."""
        return adapters.scaling(parts, parts[DOWN].shape[0], self.scaling)

    def attach(self, host, tensors, grip: Grip):
        """Folds the product into the weights."""
        from ..functional.low_rank import delta
        from .sites import fold

        for path, parts in self.layers(tensors).items():
            down, up = parts[DOWN], parts[UP]
            factor, magnitude = self.scaling_of(parts), parts.get(MAGNITUDE)
            if up.ndim < 2 or down.ndim < 2 or up.shape[1] != down.shape[0]:
                raise PersonaError(
                    f"layer {path}: {UP} {tuple(up.shape)} and {DOWN} {tuple(down.shape)} do not share a rank; "
                    "the file is damaged"
                )

            def change(stock, down=down, up=up, factor=factor, magnitude=magnitude):
                return delta(stock, down, up, factor, magnitude)

            shape = (up.shape[0], *down.shape[1:])
            fold(host, f"{path}.weight", change, grip, shape=shape, of=f"{tuple(up.shape)} x {tuple(down.shape)}")
