"""What the spaces share that compute a weight anew from the stock one: finding the layers, and learning W' = f(W)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import PersonaError
from .adapters import TEXT_TARGETS


class _Value(nn.Module):
    """A parametrisation: what the module computes with, from its stock weight; in float32 whatever the precision."""

    def __init__(self, value: Callable[[Tensor], Tensor]):
        super().__init__()
        self.value = value

    def forward(self, stock: Tensor) -> Tensor:
        with torch.autocast(stock.device.type, enabled=False):
            return self.value(stock.float()).to(stock)


def reparametrise(module: nn.Module, value: Callable[[Tensor], Tensor]):
    """Makes a module of a private clone compute with ``value(stock weight)``, differentiably."""
    parametrize.register_parametrization(module, "weight", _Value(value))


def layers(host, targets: Sequence[str] | None = None, *, text_encoders: bool = False) -> dict[str, nn.Module]:
    """``<component>.<module path>`` -> module with a weight of two axes or more.

    Args:
        host: a private clone.
        targets: ends of module names in the denoiser; None for all. In text encoders the attention's projections.
        text_encoders: those of the text encoders, too.

    Raises:
        PersonaError: when no layer of a component is a target.
    """
    components = {host.denoiser_name: (host.denoiser, targets)}
    if text_encoders:
        ends = None if targets is None else TEXT_TARGETS
        components |= {name: (encoder, ends) for name, encoder in host.text_encoders.items()}
    found = {}
    for component, (root, ends) in components.items():
        here = {
            f"{component}.{name}": module
            for name, module in root.named_modules()
            if isinstance(module, (nn.Linear, nn.Conv2d)) and (ends is None or name.endswith(tuple(ends)))
        }
        if not here:
            raise PersonaError(f"no layer of {component} ends with one of {', '.join(ends or ())}; check targets=")
        found |= here
    return found
