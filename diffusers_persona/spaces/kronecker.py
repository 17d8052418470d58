"""Kronecker space (LoKr): W' = W + (alpha / r) w1 (x) w2, trained through PEFT, folded when attached.

Source: KronA, arXiv 2212.10650, equation 3; in text-to-image models: LyCORIS, arXiv 2309.14859.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from . import adapters
from .base import Grip, Learner, Subject

PARTS = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kronecker:
    """A change of weights by the Kronecker product of two small matrices, each whole or of low rank.

    Attributes:
        rank: r of the factors; a factor that is not larger is kept whole. >= 1.
        alpha: numerator of the scaling alpha / r; None for alpha = rank.
        targets: ends of module names in the denoiser that are adapted.
        factor: rows and columns of w1, where they divide the weight's; -1 for near the square root.
        decompose_both: give w1 a low rank, too.
        effective_kernels: split the kernels of convolutions, too (a Tucker core).
        text_encoders: adapt the text encoders' attention projections, too.
    """

    kind: ClassVar[str] = "kronecker"
    adds_token: ClassVar[bool] = False

    rank: int = 4
    alpha: float | None = None
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    factor: int = -1
    decompose_both: bool = False
    effective_kernels: bool = False
    text_encoders: bool = False

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(self.targets))
        if self.rank < 1:
            raise PersonaError(f"Kronecker(rank={self.rank}): the rank is at least 1")

    @property
    def trains_text(self) -> bool:
        """True when the text encoders are adapted."""
        return self.text_encoders

    @property
    def scaling(self) -> float:
        """The factor of the product."""
        return 1.0 if self.alpha is None else self.alpha / self.rank

    def peft_config(self, targets):
        """The PEFT declaration of this space for modules that end with `targets`."""
        from peft import LoKrConfig

        return LoKrConfig(
            r=self.rank,
            alpha=self.rank if self.alpha is None else self.alpha,
            target_modules=list(targets),
            decompose_factor=self.factor,
            decompose_both=self.decompose_both,
            use_effective_conv2d=self.effective_kernels,
        )

    def prepare(self, host, subject: Subject) -> Learner:
        """PEFT adapters in the clone; parameter names are LyCORIS's."""
        return adapters.prepare(host, subject, self)

    def layers(self, tensors) -> dict[str, dict]:
        """``<component>.<module path>`` -> part -> tensor."""
        needed = [(f"lokr_w{n}", f"lokr_w{n}_{half}") for n in (1, 2) for half in "ab"]
        return adapters.group(tensors, (*PARTS, adapters.MAGNITUDE, adapters.ALPHA), needed)

    def scaling_of(self, parts) -> float:
        """The factor of one layer's product."""
        return adapters.scaling(parts, rank_of(parts), self.scaling)

    def attach(self, host, tensors, grip: Grip):
        """Folds the product into the weights."""
        adapters.attach(host, tensors, grip, self, product)


def rank_of(parts) -> int | None:
    """The rank of one layer's factors; None when both are whole."""
    low = parts.get("lokr_w2_b", parts.get("lokr_w1_b"))
    return None if low is None else low.shape[0]


def product(path, parts):
    """w1 (x) w2 of one layer, [out, in] or [out, in, k, k].

    Raises:
        PersonaError: naming the layer whose factors do not fit each other.
    """
    from ..functional.structured import kronecker, tucker

    try:
        first = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"].float() @ parts["lokr_w1_b"].float()
        if "lokr_w2" in parts:
            second = parts["lokr_w2"]
        elif "lokr_t2" in parts:
            second = tucker(parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
        else:
            second = parts["lokr_w2_a"].float() @ parts["lokr_w2_b"].float()
        return kronecker(first, second)
    except RuntimeError as error:
        raise PersonaError(f"layer {path}: the LoKr factors do not fit each other; the file is damaged") from error
