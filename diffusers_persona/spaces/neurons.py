"""Concept neurons: the concept is a set of weights of the attention that are shut off.

Source: Liu et al., Cones, arXiv 2303.05125, section 3. Every weight has a scale, 1 at first; a weight whose scale
the concept's loss wants to be lower, summed over all steps, is one of its neurons.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject
from .weights import KeyWeights

NEURONS = "neurons"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConceptNeurons:
    """Weights that are set to zero. Learn it with ``optimizer="sgd"``, no clipping and no weight decay.

    In learning a weight is W exp(u) with u = 0 at first: a step of gradient descent on u with rate rho multiplies the
    weight by 1 - rho dL/dscale up to second order (the paper's update), and -u / rho is the accumulated gradient.

    Attributes:
        fraction: of the chosen weights, those with the highest accumulated gradient that are shut off, in (0, 1).
        attention: ``"cross"``, ``"self"`` or ``"all"``.
        projections: of ``"query"``, ``"key"``, ``"value"``, ``"output"``.
    """

    kind: ClassVar[str] = "concept_neurons"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = False

    fraction: float = 0.01
    attention: str = "cross"
    projections: tuple[str, ...] = ("key", "value")

    def __post_init__(self):
        object.__setattr__(self, "projections", tuple(self.projections))
        KeyWeights(attention=self.attention, projections=self.projections)
        if not 0.0 < self.fraction < 1.0:
            raise PersonaError(
                f"ConceptNeurons(fraction={self.fraction}): give a part of the weights, above 0, below 1"
            )

    def prepare(self, host, subject: Subject) -> Learner:
        """The logarithm of each weight's scale, zeros in the weight's shape; the concept gets indices in its place."""
        import torch
        from torch import nn

        from .reparametrised import reparametrise

        learner = Learner(parameters={})
        for path in KeyWeights(attention=self.attention, projections=self.projections).names(host):
            module = host.denoiser.get_submodule(path.partition(".")[2].removesuffix(".weight"))
            scale = learner.parameters[path] = nn.Parameter(torch.zeros_like(module.weight, dtype=torch.float32))
            reparametrise(module, lambda stock, scale=scale: stock * scale.exp())
        learner.export = lambda: self._neurons(learner.parameters)
        return learner

    def _neurons(self, scales):
        """``<path of the weight>.neurons`` -> flat indices [n], as floats: a concept's tensors are."""
        from ..functional.neurons import select

        chosen = select({path: -scale.detach() for path, scale in scales.items()}, self.fraction)
        return {f"{path}.{NEURONS}": indices.float() for path, indices in chosen.items()}

    def attach(self, host, tensors, grip: Grip):
        """Sets the neurons to zero; those of several concepts on one host make the union of their masks."""
        from ..functional.neurons import shut_off
        from .sites import fold

        neurons, masks = _indices(tensors), host.pipe.__dict__.setdefault("_persona_neurons", {})
        for path, indices in neurons.items():
            here = masks.setdefault(path, {})
            here[grip.key] = grip, indices

            def leave(path=path, here=here):
                here.pop(grip.key, None)
                if not here:
                    masks.pop(path, None)
                if not masks:
                    host.pipe.__dict__.pop("_persona_neurons", None)

            def change(stock, indices=indices, here=here):
                before = [(other, held.strength) for key, (held, other) in sorted(here.items()) if key < grip.key]
                return shut_off(stock, indices, before)

            grip.releases.append(leave)
            fold(host, path, change, grip)
            grip.releases.append(leave)  # again: the other concepts are folded anew when the edit is released


def _indices(tensors) -> dict:
    """Path of a weight -> flat indices [n] (int64)."""
    for key, values in tensors.items():
        if not key.endswith(f".{NEURONS}") or values.ndim != 1 or not values.numel():
            raise PersonaError(f"key {key!r} {tuple(values.shape)} is no list of neurons (<weight>.{NEURONS} [n])")
    return {key.removesuffix(f".{NEURONS}"): values.long() for key, values in tensors.items()}


def neuron_fractions(concept, pipe) -> dict[str, float]:
    """How much of each weight a concept's neurons are, by the weight's path: where in the network the concept lives.

    Args:
        concept: a concept with concept neurons.
        pipe: a pipeline of the kind that it was learned on.

    Raises:
        PersonaError: when the concept has no neurons, or the pipeline no such weight.
    """
    from .. import backbones

    host, found = backbones.of(pipe), {}
    for i, space in enumerate(concept.spaces):
        if space.kind == ConceptNeurons.kind:
            for path, indices in _indices(concept.tensors_of(i)).items():
                component, _, inner = path.partition(".")
                module, _ = host.locate(host.component(component), inner.rpartition(".")[0], path)
                found[path] = len(indices) / module.weight.numel()
    if not found:
        raise PersonaError(f"concept {concept.phrase!r} has no concept neurons; learn it with such a recipe (cones)")
    return found
