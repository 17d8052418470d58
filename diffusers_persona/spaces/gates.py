"""Gated edits on keys and values: one hook for each projection, shared by all concepts, gone with the last one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from ..functional.rank_one import gated_projection
from .sites import unwrapped

PROJECTIONS = ("to_k", "to_v")


@dataclasses.dataclass(kw_only=True)
class Edit:
    """One concept's edit of one attention layer.

    Attributes:
        strength: how strong it is now; 0 for not at all.
        target, direction: i* and C^-1 i*, [d]; they get no gradient.
        outputs: o* of ``"to_k"`` and ``"to_v"``, [out], or one for each position of the text, [L, out].
        bias, temperature: of the gate.
    """

    strength: Callable[[], float]
    target: Tensor
    direction: Tensor
    outputs: dict[str, Tensor]
    bias: float
    temperature: float


class GateSite(ModelHook):
    """The edits of one projection: takes the concepts' parts out of its input, and adds their outputs by the gates."""

    name = "persona.gates"

    def __init__(self, projections: tuple[str, ...]):
        super().__init__()
        self.projections = projections
        self.edits: dict[tuple, Edit] = {}
        self.added: Tensor | None = None

    def pre_forward(self, module, encodings, *args, **kwargs):
        """The text encodings [B, L, d] without what the concepts replace."""
        edits = [edit for _, edit in sorted(self.edits.items(), key=lambda item: item[0]) if edit.strength() != 0.0]
        self.added = None
        if edits:
            wide = encodings.float()

            def vector(values):
                return torch.tensor(values, dtype=wide.dtype, device=wide.device)

            with torch.autocast(wide.device.type, enabled=False):
                rest, gates = gated_projection(
                    wide,
                    torch.stack([edit.target.detach().to(wide) for edit in edits]),
                    torch.stack([edit.direction.detach().to(wide) for edit in edits]),
                    vector([edit.strength() for edit in edits]),
                    vector([edit.bias for edit in edits]),
                    vector([edit.temperature for edit in edits]),
                )
            outputs = [torch.cat([edit.outputs[p].to(wide) for p in self.projections], -1) for edit in edits]
            self.added = sum(gates[..., n, None] * output for n, output in enumerate(outputs))
            encodings = rest.to(encodings)
        return (encodings, *args), kwargs

    def post_forward(self, module, output):
        """The projection with the concepts' outputs."""
        return output if self.added is None else output + self.added.to(output)


class FusionWatch(ModelHook):
    """Before an attention layer runs: takes the edits to its fused projection, which may be new each time."""

    name = "persona.gates.fusion"

    def __init__(self, edits: dict):
        super().__init__()
        self.edits = edits

    def pre_forward(self, module, *args, **kwargs):
        """Covers ``to_kv`` where keys and values are fused."""
        if getattr(module, "fused_projections", False):
            _site(module.to_kv, PROJECTIONS).edits = self.edits
        return args, kwargs


def edit_attention(attention: nn.Module, key: tuple, edit: Edit) -> Callable[[], None]:
    """Puts `edit` on the key and value projections of an attention layer, fused or not, in the order of the keys.

    Returns:
        What takes it off again.
    """
    sites = {name: _site(unwrapped(getattr(attention, name)), (name,)) for name in PROJECTIONS}
    edits = sites["to_k"].edits
    edits[key] = edit
    for site in sites.values():
        site.edits = edits
    registry = HookRegistry.check_if_exists_or_initialize(attention)
    if registry.get_hook(FusionWatch.name) is None:
        registry.register_hook(FusionWatch(edits), FusionWatch.name)
    modules = [unwrapped(getattr(attention, name)) for name in PROJECTIONS]

    def remove():
        del edits[key]
        if not edits:
            registry.remove_hook(FusionWatch.name, recurse=False)
            for module in (*modules, getattr(attention, "to_kv", None)):
                if module is not None:
                    HookRegistry.check_if_exists_or_initialize(module).remove_hook(GateSite.name, recurse=False)

    return remove


def _site(module: nn.Module, projections: tuple[str, ...]) -> GateSite:
    registry = HookRegistry.check_if_exists_or_initialize(module)
    if registry.get_hook(GateSite.name) is None:
        registry.register_hook(GateSite(projections), GateSite.name)
    return registry.get_hook(GateSite.name)
