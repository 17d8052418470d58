"""Low-rank space: W' = W + (alpha / r) B A, trained through PEFT and folded when attached.

Source: Hu et al., LoRA, arXiv 2106.09685, equation 3; rank-stabilised scaling alpha / sqrt(r): arXiv 2312.03732;
    DoRA: arXiv 2402.09353.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject

ADAPTER = "persona_low_rank"
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRank:
    """A low-rank change of linear and convolutional weights.

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

    def peft_config(self, targets):
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
        )

    def prepare(self, host, subject: Subject) -> Learner:
        """PEFT adapters in the clone; parameter names are the stock LoRA file's keys."""
        import torch
        from peft import inject_adapter_in_model

        learner = Learner(parameters={})
        components = {host.denoiser_name: (host.denoiser, self.targets)}
        if self.text_encoders:
            components |= {name: (encoder, TEXT_TARGETS) for name, encoder in host.text_encoders.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(subject.seed)
            for component, (module, targets) in components.items():
                if not any(name.endswith(tuple(targets)) for name, _ in module.named_modules()):
                    raise PersonaError(
                        f"no layer of {component} ends with one of {', '.join(targets)}; check targets="
                    )
                inject_adapter_in_model(self.peft_config(targets), module, ADAPTER)
                learner.parameters |= _adapter_parameters(component, module)
        return learner

    def attach(self, host, tensors, grip: Grip):
        """Folds the product into the weights."""
        from ..functional.low_rank import delta
        from .sites import fold

        for path, parts in group(tensors).items():
            down, up = parts["lora_A.weight"], parts["lora_B.weight"]
            magnitude = parts.get("lora_magnitude_vector")

            def change(stock, down=down, up=up, magnitude=magnitude):
                return delta(stock, down, up, self.scaling, magnitude)

            shape = (up.shape[0], *down.shape[1:])
            fold(host, f"{path}.weight", change, grip, shape=shape, of=f"{tuple(up.shape)} x {tuple(down.shape)}")


def group(tensors) -> dict[str, dict]:
    """Keys ``<module>.lora_A.weight`` -> module -> part -> tensor.

    Raises:
        PersonaError: for a key that is no part of a low-rank adapter, or a module without both halves.
    """
    modules: dict[str, dict] = {}
    for key, tensor in tensors.items():
        path, marker, part = key.partition(".lora_")
        if not marker:
            raise PersonaError(
                f"key {key!r} is no low-rank tensor (expected <module>.lora_A.weight or .lora_B.weight)"
            )
        modules.setdefault(path, {})["lora_" + part.removesuffix(".default")] = tensor
    for path, parts in modules.items():
        missing = {"lora_A.weight", "lora_B.weight"} - set(parts)
        if missing:
            raise PersonaError(f"layer {path}: {', '.join(sorted(missing))} is missing; the file is incomplete")
    return modules


def _adapter_parameters(component, module):
    """Name in the stock LoRA file -> the adapter's parameter, in float32 whatever the host's precision."""
    marker, found = f".{ADAPTER}", {}
    for name, parameter in module.named_parameters():
        if marker in name:
            parameter.data = parameter.data.float()
            found[f"{component}.{name.replace(marker, '')}"] = parameter
    return found
