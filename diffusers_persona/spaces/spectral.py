"""Spectral space: the singular values of the weights move by what is learned, their singular vectors stay.

Source: Han et al., SVDiff, arXiv 2303.11305, section 3.1; normalisation layers as in mkshing/svdiff-pytorch.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject

SHIFT = "delta"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectral:
    """Shifts of the singular values of all matrices and kernels.

    Attributes:
        text_encoders: those of the text encoders, too.
    """

    kind: ClassVar[str] = "spectral"
    adds_token: ClassVar[bool] = False

    text_encoders: bool = False

    @property
    def trains_text(self) -> bool:
        """True when the text encoders are changed."""
        return self.text_encoders

    def prepare(self, host, subject: Subject) -> Learner:
        """A shift of zeros, [number of singular values], for each layer."""
        from .reparametrised import layers

        return _prepare(layers(host, text_encoders=self.text_encoders))

    def attach(self, host, tensors, grip: Grip):
        """Folds U (relu(s + shift) - s) V^T into the weights."""
        _attach(host, tensors, grip)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectralVectors(Spectral):
    """Shifts of the one singular value, the norm, that a normalisation layer's weight has as a matrix of one row."""

    kind: ClassVar[str] = "spectral_vectors"

    def prepare(self, host, subject: Subject) -> Learner:
        """A shift of zero, [1], for each normalisation layer that has a weight."""
        from torch import nn

        roots = {host.denoiser_name: host.denoiser} | (host.text_encoders if self.text_encoders else {})
        return _prepare(
            {
                f"{component}.{name}": module
                for component, root in roots.items()
                for name, module in root.named_modules()
                if isinstance(module, (nn.LayerNorm, nn.GroupNorm)) and module.weight is not None
            }
        )


def _prepare(modules) -> Learner:
    import torch
    from torch import nn

    from ..functional.spectral import shifted, spectrum
    from .reparametrised import reparametrise

    learner = Learner(parameters={})
    for path, module in modules.items():
        parts = spectrum(module.weight.detach())
        shift = nn.Parameter(torch.zeros_like(parts.values))
        learner.parameters[f"{path}.{SHIFT}"] = shift
        reparametrise(module, lambda stock, parts=parts, shift=shift: stock + shifted(stock, parts, shift))
    return learner


def _attach(host, tensors, grip):
    from ..functional.spectral import shifted, spectrum
    from .sites import fold

    for key, shift in tensors.items():
        path, _, part = key.rpartition(".")
        if part != SHIFT or shift.ndim != 1:
            raise PersonaError(
                f"key {key!r} {tuple(shift.shape)} is no spectral shift (expected <module>.{SHIFT} [n])"
            )

        fold(host, f"{path}.weight", _once(lambda stock, shift=shift: shifted(stock, spectrum(stock), shift)), grip)


def _once(change):
    """`change`, computed at the first call only: a decomposition takes long."""
    known = []

    def remembered(stock):
        if not known:
            known.append(change(stock))
        return known[0]

    return remembered
