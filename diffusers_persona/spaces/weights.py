"""Parameter space: the concept is new values of the host's own weights, all of them or the key ones.

Sources: Ruiz et al., DreamBooth, arXiv 2208.12242 (all weights); Kumari et al., Custom Diffusion, arXiv 2212.04488,
section 3.1 (keys and values of the cross-attention).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject

PROJECTIONS = {"query": "to_q", "key": "to_k", "value": "to_v", "output": "to_out.0"}


def _prepare(host, names) -> Learner:
    """Turns the named weights of the clone into trainable float32 copies."""
    from torch import nn

    learner = Learner(parameters={})
    for path in names:
        module, _, name = _find(host, path)
        parameter = nn.Parameter(module._parameters[name].detach().float().clone())
        module._parameters[name] = learner.parameters[path] = parameter
    if not learner.parameters:
        raise PersonaError(
            "no weight of this model is chosen by the recipe's space; check attention= and projections="
        )
    return learner


def _attach(host, tensors, grip: Grip):
    """Folds ``stock + strength x (learned - stock)`` into each weight."""
    from .sites import fold

    for path, learned in tensors.items():
        fold(
            host,
            path,
            lambda stock, new=learned: new.to(stock).reshape(stock.shape) - stock,
            grip,
            shape=learned.shape,
        )


def _find(host, path):
    component, _, inner = path.partition(".")
    inner, _, name = inner.rpartition(".")
    module, parent = host.locate(host.component(component), inner, path)
    return module, parent, name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
    """All weights of the denoiser.

    Attributes:
        text_encoders: the weights of the text encoders, too (their token tables stay frozen).
    """

    kind: ClassVar[str] = "weights"
    adds_token: ClassVar[bool] = False

    text_encoders: bool = False

    @property
    def trains_text(self) -> bool:
        """True when the text encoders are trained."""
        return self.text_encoders

    def names(self, host) -> list[str]:
        """``<component>.<module path>.<parameter>`` of each chosen weight."""
        names = [f"{host.denoiser_name}.{name}" for name, _ in host.denoiser.named_parameters()]
        if self.text_encoders:
            for component, encoder in host.text_encoders.items():
                names += [f"{component}.{n}" for n, _ in encoder.named_parameters() if "token_embedding" not in n]
        return names

    def prepare(self, host, subject: Subject) -> Learner:
        """Trainable copies of all weights in the clone."""
        return _prepare(host, self.names(host))

    def attach(self, host, tensors, grip: Grip):
        """Moves the host's weights to the learned ones by the grip's strength."""
        _attach(host, tensors, grip)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyWeights:
    """Chosen projections of chosen attention layers of the denoiser.

    Attributes:
        attention: ``"cross"``, ``"self"`` or ``"all"``.
        projections: of ``"query"``, ``"key"``, ``"value"``, ``"output"``.
        detach_start: give the start-of-text position no gradient through the key and value of cross-attention.
    """

    kind: ClassVar[str] = "key_weights"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = False

    attention: str = "cross"
    projections: tuple[str, ...] = ("key", "value")
    detach_start: bool = False

    def __post_init__(self):
        object.__setattr__(self, "projections", tuple(self.projections))
        unknown = set(self.projections) - set(PROJECTIONS)
        if unknown or self.attention not in ("cross", "self", "all"):
            raise PersonaError(
                f"KeyWeights(attention={self.attention!r}, projections={self.projections}): attention "
                "is cross, self or all; "
                f"projections are of {', '.join(PROJECTIONS)}"
            )

    def names(self, host) -> list[str]:
        """``<denoiser>.<attention layer>.<projection>.weight`` of each chosen weight."""
        layers = host.attention_layers(self.attention)
        return [f"{host.denoiser_name}.{layer}.{PROJECTIONS[p]}.weight" for layer in layers for p in self.projections]

    def prepare(self, host, subject: Subject) -> Learner:
        """Trainable copies of the chosen weights in the clone."""
        learner = _prepare(host, self.names(host))
        if self.detach_start:
            for layer in host.attention_layers("cross"):
                for projection in ("to_k", "to_v"):
                    host.denoiser.get_submodule(f"{layer}.{projection}").register_forward_hook(_detach_start)
        return learner

    def attach(self, host, tensors, grip: Grip):
        """Moves the chosen weights to the learned ones by the grip's strength."""
        _attach(host, tensors, grip)


def _detach_start(module, inputs, output):
    import torch

    return torch.cat([output[:, :1].detach(), output[:, 1:]], dim=1)
