"""Low-rank space: W' = W + (alpha / r) B A, trained through PEFT and folded when attached.

Source: Hu et al., LoRA, arXiv 2106.09685, equation 3; rank-stabilised scaling alpha / sqrt(r): arXiv 2312.03732;
    DoRA: arXiv 2402.09353; a choice of blocks: B-LoRA, arXiv 2403.14572; fixed orthonormal A: arXiv 2408.01556.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import ClassVar

from ..errors import PersonaError
from . import adapters
from .base import Grip, Learner, Subject

DOWN, UP, MAGNITUDE = "lora_A.weight", "lora_B.weight", adapters.MAGNITUDE


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRank:
    """A low-rank change of linear and convolutional weights.

    A layer of another rank, or with a tensor ``alpha`` of its own, goes by these in place of the declared numbers.
    Several of them are learned side by side when each has a `name`; `side_by_side` says what the last fields mean.

    Attributes:
        rank: r, the inner width of B A; >= 1, or the part of each layer's width that it takes, in (0, 1).
        alpha: numerator of the scaling; None for alpha = rank.
        targets: ends of module names in the denoiser that are adapted (``"conv1"`` and ``"proj_out"``, too).
        rank_stabilised: scale by alpha / sqrt(r) in place of alpha / r.
        dora: learn the magnitude of each output row apart from its direction.
        dropout: dropout of the adapter's input in learning, in [0, 1).
        text_encoders: adapt the text encoders' attention projections, too.
        text_targets: ends of module names in the text encoders that are adapted then.
        denoiser: whether the denoiser is adapted; False for the text encoders alone.
        name: tells it from others in the same concept: ``"content"``, ``"style"``.
        blocks: parts of the denoiser that are adapted (see `Backbone.block`); empty for all.
        ranks: part of the denoiser -> rank in it, 0 for none; the others have `rank`.
        basis: fixes A to rows of one shared orthonormal basis of the layer's inputs: the number of the first row, or
            ``"drawn"`` for rows that the concept's word draws. None learns A.
        up_init: B begins as ``"zeros"``, or ``"normal"`` like A, with deviation 1 / r.
        merger_rate: learn a factor in [0, 1] for each row of B A, this many times faster than B and A; 0 for none.
        columns: the part of each layer's input columns that is switched on in each period of learning, those that
            matter most; 0 for all columns at once (see `column_choice`).
        column_period: length of a period in steps.
        prompt: what the cross-attention's keys and values of this LoRA read in learning; None for the prompt of the
            picture. ``{0}``, ``{1}`` are the phrases of the things that are learned, ``{nouns[0]}`` their class words.
        acts_on, learns_from: of pictures that come in pairs, those that it acts on and learns from: 0 for the first of
            each pair, 1 for the second, None for both.
        used: whether it acts when the concept is attached; False for one that only keeps something out of the others.
    """

    kind: ClassVar[str] = "low_rank"
    adds_token: ClassVar[bool] = False

    rank: float = 4
    alpha: float | None = None
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    rank_stabilised: bool = False
    dora: bool = False
    dropout: float = 0.0
    text_encoders: bool = False
    text_targets: tuple[str, ...] = adapters.TEXT_TARGETS
    denoiser: bool = True
    name: str = ""
    blocks: tuple[str, ...] = ()
    ranks: dict[str, int] = dataclasses.field(default_factory=dict)
    basis: int | str | None = None
    up_init: str = "zeros"
    merger_rate: float = 0.0
    columns: float = 0.0
    column_period: int = 200
    prompt: str | None = None
    acts_on: int | None = None
    learns_from: int | None = None
    used: bool = True

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(self.targets))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        object.__setattr__(self, "text_targets", tuple(self.text_targets))
        if not self.denoiser and not self.text_encoders:
            raise PersonaError("LowRank(denoiser=False): adapt the text encoders then, with text_encoders=True")
        share = 0.0 < self.rank < 1.0
        if not share and (self.rank < 1 or self.rank != int(self.rank)):
            raise PersonaError(f"LowRank(rank={self.rank}): the rank is at least 1 and whole, or in (0, 1)")
        if share and (self.alpha is not None or self.rank_stabilised):
            raise PersonaError(f"LowRank(rank={self.rank}): a part of the width has no alpha; leave alpha= out")
        if self.up_init not in ("zeros", "normal"):
            raise PersonaError(f"LowRank(up_init={self.up_init!r}): choose 'zeros' or 'normal'")
        if not (self.basis is None or self.basis == "drawn" or (isinstance(self.basis, int) and self.basis >= 0)):
            raise PersonaError(f"LowRank(basis={self.basis!r}): give the first row's number, or 'drawn'")

    @property
    def trains_text(self) -> bool:
        """True when the text encoders are adapted."""
        return self.text_encoders

    @property
    def scaling(self) -> float:
        """The factor of B A."""
        alpha = self.rank if self.alpha is None else self.alpha
        return alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    # ------------------------------------------------------------------------------------------------------- learning

    def peft_config(self, targets, **patterns):
        """The PEFT declaration of this space for modules that end with `targets`."""
        from peft import LoraConfig

        rank = max(1, int(self.rank))
        return LoraConfig(
            r=rank,
            lora_alpha=rank if self.alpha is None else self.alpha,
            target_modules=list(targets),
            use_rslora=self.rank_stabilised,
            use_dora=self.dora,
            lora_dropout=self.dropout,
            init_lora_weights="gaussian",
            **patterns,
        )

    def ranks_on(self, host) -> dict[str, int]:
        """Module path in the denoiser -> rank, for each layer that is adapted on `host`.

        Raises:
            PersonaError: for a block that the denoiser does not have.
        """
        chosen = {f"{host.block(name)}.": self.rank for name in self.blocks or ()} or {"": self.rank}
        chosen |= {f"{host.block(name)}.": rank for name, rank in self.ranks.items()}
        nearest = sorted(chosen, key=len, reverse=True)
        found = {}
        for path, module in host.denoiser.named_modules():
            within = next((prefix for prefix in nearest if path.startswith(prefix)), None)
            if within is None or not any(path == end or path.endswith(f".{end}") for end in self.targets):
                continue
            rank = chosen[within]
            rank = max(1, round(rank * module.weight.shape[0])) if 0.0 < rank < 1.0 else int(rank)
            if rank:
                found[path] = rank
        if not found:
            parts = f" of {', '.join(self.blocks)}" if self.blocks else ""
            raise PersonaError(
                f"no layer{parts} ends with one of {', '.join(self.targets)}; check targets= and blocks="
            )
        return found

    def prepare(self, host, subject: Subject) -> Learner:
        """PEFT adapters in the clone; parameter names are the stock LoRA file's keys."""
        from . import side_by_side

        adapter = f"{adapters.ADAPTER}_{self.name}" if self.name else adapters.ADAPTER
        learner = adapters.prepare(host, subject, self, adapter=adapter, patterns=self._patterns(host))
        if self.up_init == "normal":
            self._begin_up(learner, subject.seed)
        if self.basis is not None:
            self._fix_down(learner, subject)
        places = (self.acts_on, self.learns_from)
        if self.merger_rate or self.columns or self.prompt or places != (None, None):
            return side_by_side.install(self, host, subject, learner, adapter)
        return learner

    def _patterns(self, host) -> dict | None:
        """PEFT's patterns of ranks and alphas; None where all layers have the same."""
        if not self.blocks and not self.ranks and self.rank >= 1:
            return None
        ranks = {re.escape(path): rank for path, rank in self.ranks_on(host).items()}
        root = (lambda rank: math.sqrt(rank)) if self.rank_stabilised else (lambda rank: rank)
        return {"rank_pattern": ranks, "alpha_pattern": {p: self.scaling * root(rank) for p, rank in ranks.items()}}

    def _begin_up(self, learner, seed):
        import torch

        random = torch.Generator().manual_seed(seed + 1)
        for name, parameter in learner.parameters.items():
            if name.endswith(UP):
                noise = torch.randn(parameter.shape, generator=random) / parameter.shape[1]
                parameter.data.copy_(noise)

    def _fix_down(self, learner, subject):
        """A becomes a constant: rows of the basis that all concepts share."""
        import torch

        from ..functional.low_rank import orthonormal_basis

        bases: dict[int, torch.Tensor] = {}
        for name in [name for name in learner.parameters if name.endswith(DOWN)]:
            down = learner.parameters.pop(name)
            rank, width = len(down), down[0].numel()
            basis = bases.setdefault(width, orthonormal_basis(width))
            rows = self._rows(rank, width, subject, name)
            down.data.copy_(basis[rows].reshape(down.shape))
            learner.constants[name] = down.requires_grad_(False)

    def _rows(self, rank, width, subject, name):
        import hashlib

        import torch

        if self.basis == "drawn":
            digest = hashlib.sha256(f"{subject.token} {subject.seed}".encode()).digest()
            random = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
            rows = torch.randperm(width, generator=random)[:rank]
        else:
            rows = torch.arange(self.basis, min(self.basis + rank, width))
        if len(rows) < rank:
            raise PersonaError(
                f"layer {name}: {width} inputs have no {rank} basis rows from {self.basis} on; give a lower rank="
            )
        return rows

    # --------------------------------------------------------------------------------------------------------- in use

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

        if not self.used:
            return
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
