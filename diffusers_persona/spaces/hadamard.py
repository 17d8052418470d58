"""Hadamard space (LoHa): W' = W + (alpha / r) (w1_a w1_b) * (w2_a w2_b), trained through PEFT, folded when attached.

Source: FedPara, arXiv 2108.06098, equation 2; in text-to-image models: LyCORIS, arXiv 2309.14859.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from . import adapters
from .base import Grip, Learner, Subject

FACTORS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
CORES = ("hada_t1", "hada_t2")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hadamard:
    """A change of weights by the elementwise product of two low-rank matrices; its rank is up to r^2.

    Attributes:
        rank: r of both matrices; >= 1.
        alpha: numerator of the scaling alpha / r; None for alpha = rank.
        targets: ends of module names in the denoiser that are adapted.
        effective_kernels: split the kernels of convolutions, too (Tucker cores).
        text_encoders: adapt the text encoders' attention projections, too.
    """

    kind: ClassVar[str] = "hadamard"
    adds_token: ClassVar[bool] = False

    rank: int = 4
    alpha: float | None = None
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    effective_kernels: bool = False
    text_encoders: bool = False

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(self.targets))
        if self.rank < 1:
            raise PersonaError(f"Hadamard(rank={self.rank}): the rank is at least 1")

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
        from peft import LoHaConfig

        return LoHaConfig(
            r=self.rank,
            alpha=self.rank if self.alpha is None else self.alpha,
            target_modules=list(targets),
            use_effective_conv2d=self.effective_kernels,
        )

    def prepare(self, host, subject: Subject) -> Learner:
        """PEFT adapters in the clone; parameter names are LyCORIS's."""
        return adapters.prepare(host, subject, self)

    def layers(self, tensors) -> dict[str, dict]:
        """``<component>.<module path>`` -> part -> tensor."""
        parts = (*FACTORS, *CORES, adapters.MAGNITUDE, adapters.ALPHA)
        return adapters.group(tensors, parts, [(factor,) for factor in FACTORS])

    def scaling_of(self, parts) -> float:
        """The factor of one layer's product."""
        return adapters.scaling(parts, parts["hada_w1_b"].shape[0], self.scaling)

    def attach(self, host, tensors, grip: Grip):
        """Folds the product into the weights."""
        adapters.attach(host, tensors, grip, self, product)


def product(path, parts):
    """(w1_a w1_b) * (w2_a w2_b) of one layer, [out, in] or [out, in, k, k].

    Raises:
        PersonaError: naming the layer whose factors do not fit each other.
    """
    from ..functional.structured import hadamard

    one, other = ([parts[f"hada_w{n}_a"], parts[f"hada_w{n}_b"], parts.get(f"hada_t{n}")] for n in (1, 2))
    try:
        return hadamard(tuple(one), tuple(other))
    except RuntimeError as error:
        raise PersonaError(f"layer {path}: the LoHa factors do not fit each other; the file is damaged") from error
