"""Orthogonal space: W' = W Q^T, Q orthogonal and block-diagonal (OFT) or a product of such factors (BOFT).

Sources: Qiu et al., OFT, arXiv 2306.07280; Liu et al., BOFT, arXiv 2311.06243.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from ..errors import PersonaError
from . import adapters
from .base import Grip, Learner, Subject

ROTATION, MAGNITUDE = "rotation", "magnitude"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Orthogonal:
    """A rotation of what a layer reads; the angles between its neurons stay.

    Attributes:
        blocks: r, blocks of each factor; a layer's inputs must divide by it, and by 2 r with several factors.
        factors: m, butterfly factors; 1 for OFT. r must divide by 2^(m - 1).
        constraint: eps of COFT: after each step the Frobenius norm of every R is at most eps b^2 / sqrt(r), b the side
            of a block; None for no limit.
        shared: one block for all places of a factor.
        magnitudes: learn one factor for each output, too (BOFT's s).
        dropout: part of the blocks of one factor that are the identity at a step, in [0, 1).
        targets: ends of module names in the denoiser that are adapted.
        text_encoders: adapt the text encoders' attention projections, too.
    """

    kind: ClassVar[str] = "orthogonal"
    adds_token: ClassVar[bool] = False

    blocks: int = 4
    factors: int = 1
    constraint: float | None = None
    shared: bool = False
    magnitudes: bool = False
    dropout: float = 0.0
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    text_encoders: bool = False

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(self.targets))
        if self.blocks < 1 or self.factors < 1 or self.blocks % 2 ** (self.factors - 1):
            raise PersonaError(
                f"Orthogonal(blocks={self.blocks}, factors={self.factors}): blocks divide by 2 ** (factors - 1)"
            )

    @property
    def trains_text(self) -> bool:
        """True when the text encoders are adapted."""
        return self.text_encoders

    def prepare(self, host, subject: Subject) -> Learner:
        """For each layer the triangles of R, [m, r, b (b - 1) / 2] of zeros, and where declared magnitudes of one."""
        import torch
        from torch import nn

        from .reparametrised import layers

        learner, together = Learner(parameters={}), _Together(self.dropout)
        for path, module in layers(host, self.targets, text_encoders=self.text_encoders).items():
            side = self._side(path, module.weight.flatten(1).shape[1])
            shape = self.factors, 1 if self.shared else self.blocks, side * (side - 1) // 2
            parts = {ROTATION: nn.Parameter(torch.zeros(shape, device=module.weight.device))}
            if self.magnitudes:
                parts[MAGNITUDE] = nn.Parameter(torch.ones(len(module.weight), device=module.weight.device))
            learner.parameters |= {f"{path}.{name}": parameter for name, parameter in parts.items()}
            together.add(path, module, parts)
        together.follow(host)
        if (eps := self.constraint) is not None:
            learner.constrain = lambda: _constrain(learner.parameters, eps)
        return learner

    def _side(self, path, width) -> int:
        """The side of a block on rows of `width` entries."""
        halves = 2 if self.factors > 1 else 1
        if width % (halves * self.blocks) or width // self.blocks < 2:
            raise PersonaError(
                f"layer {path}: {width} inputs do not divide into {self.blocks} blocks"
                f"{' of an even side' if halves == 2 else ''}; choose another number of blocks"
            )
        return width // self.blocks

    def layers(self, tensors) -> dict[str, dict]:
        """``<component>.<module path>`` -> part -> tensor.

        Raises:
            PersonaError: for a key that is no part of a rotation, or a rotation that is none.
        """
        from ..functional.orthogonal import block_size

        found = adapters.group(tensors, (ROTATION, MAGNITUDE), ((ROTATION,),))
        for path, parts in found.items():
            shape = tuple(parts[ROTATION].shape)
            try:
                if len(shape) != 3:
                    raise ValueError("three axes are expected: factors, blocks, entries of a triangle")
                block_size(shape[-1])
            except ValueError as error:
                raise PersonaError(f"layer {path}: {ROTATION} {shape}: {error}; the file is damaged") from None
        return found

    def attach(self, host, tensors, grip: Grip):
        """Folds W Q^T - W into the weights."""
        from .sites import fold

        for path, parts in self.layers(tensors).items():
            one = {name: tensor[None] for name, tensor in parts.items()}
            fold(host, f"{path}.weight", lambda stock, one=one: turned(stock[None], one)[0] - stock, grip)


def _constrain(parameters, eps):
    """Brings every R back into its ball."""
    import torch

    from ..functional.orthogonal import block_size, project

    with torch.no_grad():
        for name, triangles in parameters.items():
            if name.endswith(f".{ROTATION}"):
                limit = eps * block_size(triangles.shape[-1]) ** 2 / math.sqrt(triangles.shape[1])
                triangles.copy_(project(triangles, limit))


def turned(stock, parts, *, dropout: float = 0.0):
    """W Q^T, times the magnitudes of its rows where there are some, in the shape of the weights.

    Args:
        stock: n weights of one shape, [n, out, in] or [n, out, in, k, k]; a kernel's row has in k k entries.
        parts: ``rotation``, [n, m, r or 1, b (b - 1) / 2], and perhaps ``magnitude``, [n, out].
        dropout: part of the blocks of one factor that are the identity.

    Raises:
        RuntimeError: when they do not fit the weights.
    """
    from ..functional.orthogonal import cayley, drop, rotate, skew

    rows = stock.flatten(2)
    blocks = cayley(skew(parts[ROTATION].to(stock)))
    if dropout:
        blocks = drop(blocks, dropout)
    if blocks.shape[2] == 1:
        blocks = blocks.expand(-1, -1, rows.shape[-1] // blocks.shape[-1], -1, -1)
    rows = rotate(rows, blocks)
    if MAGNITUDE in parts:
        rows = rows * parts[MAGNITUDE].to(stock)[..., None]
    return rows.view_as(stock)


class _Together:
    """The turned weights of all layers in learning: those of one shape are computed together, once a forward pass.

    Layer by layer, the many small linear systems would take a good part of a step.
    """

    def __init__(self, dropout: float):
        self.dropout = dropout
        self.layers: dict[str, tuple] = {}
        self.weights: dict[str, Any] = {}

    def add(self, path, module, parts):
        """Takes a layer in: its weight is from now on what was computed last."""
        from .reparametrised import reparametrise

        self.layers[path] = module.weight.detach(), parts
        self.weights[path] = module.weight.detach()
        reparametrise(module, lambda stock: self.weights[path])

    def follow(self, host):
        """Computes the weights of each component whenever it runs."""
        for component in dict.fromkeys(path.partition(".")[0] for path in self.layers):
            groups: dict[tuple, list[str]] = {}
            for path, (stock, parts) in self.layers.items():
                if path.startswith(f"{component}."):
                    groups.setdefault((stock.shape, parts[ROTATION].shape), []).append(path)
            host.component(component).register_forward_pre_hook(
                lambda *_, groups=groups: self.compute(groups.values())
            )

    def compute(self, groups):
        """The turned weights of layers of one shape each."""
        import torch

        for paths in groups:
            stock = torch.stack([self.layers[path][0] for path in paths]).float()
            own = [self.layers[path][1] for path in paths]
            parts = {name: torch.stack([each[name] for each in own]) for name in own[0]}
            with torch.autocast(stock.device.type, enabled=False):
                self.weights |= zip(paths, turned(stock, parts, dropout=self.dropout).unbind())
