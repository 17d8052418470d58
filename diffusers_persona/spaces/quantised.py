"""Quantised space: the host's weights become integers, and their scales are learned, some for each part of the time.

Source: Ryu et al., TuneQDM, arXiv 2401.04339. The concept holds scales alone: the integers follow from the host.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from . import adapters
from .base import Grip, Learner, Subject

OUTPUT, INPUT = "delta_out", "delta_in"


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantisedScales:
    """Scales of the quantised weights of all linear and convolutional layers of the denoiser.

    Integers are kept as floats here, so learning takes the memory of one more copy of the denoiser.

    Attributes:
        bits: of an integer, 2 to 8.
        experts: N, sets of scales; number floor(t N / T) is in use at timestep t of T.
        inputs: learn scales of the input channels, too.
    """

    kind: ClassVar[str] = "quantised_scales"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = False

    bits: int = 8
    experts: int = 4
    inputs: bool = True

    def __post_init__(self):
        if not 2 <= self.bits <= 8 or self.experts < 1:
            raise PersonaError(
                f"QuantisedScales(bits={self.bits}, experts={self.experts}): 2 to 8 bits, at least one expert"
            )

    def prepare(self, host, subject: Subject) -> Learner:
        """For each layer the scales [N, out] of its rows, and [N, in] of ones for its input channels."""
        import torch
        from torch import nn

        from ..functional.quantisation import quantise
        from .reparametrised import layers

        learner, now = Learner(parameters={}), _Experts(host.noise_schedule().config.num_train_timesteps, self.experts)
        host.time_projection.register_forward_pre_hook(now.follow)
        for path, module in layers(host).items():
            centred, scales = quantise(module.weight.detach().float(), self.bits)
            module.weight = nn.Parameter(centred.to(module.weight), requires_grad=False)
            output = nn.Parameter(scales.repeat(self.experts, 1))
            inward = torch.ones(self.experts, module.weight.shape[1], device=scales.device)
            if self.inputs:
                inward = nn.Parameter(inward)
                learner.parameters[f"{path}.{INPUT}"] = inward
            learner.parameters[f"{path}.{OUTPUT}"] = output
            _scale(module, now, output, inward)
        return learner

    def layers(self, tensors) -> dict[str, dict]:
        """``<component>.<module path>`` -> part -> tensor.

        Raises:
            PersonaError: for a key that is no scale, or scales of another number of experts.
        """
        found = adapters.group(tensors, (OUTPUT, INPUT), ((OUTPUT,),))
        for path, parts in found.items():
            for name, scales in parts.items():
                if scales.ndim != 2 or len(scales) != self.experts:
                    raise PersonaError(
                        f"layer {path}: {name} {tuple(scales.shape)}, expected [{self.experts}, channels]; "
                        "the file is damaged"
                    )
        return found

    def attach(self, host, tensors, grip: Grip):
        """Folds the difference of quantised and stock weights; with several experts at each change of the expert."""
        from .sites import Bus, fold

        steps = host.pipe.scheduler.config.num_train_timesteps
        bus = grip.bus or Bus.of(host.time_projection, steps - 1)
        now = _Experts(steps, self.experts)
        now.at(bus.progress)
        first = len(grip.refreshes)
        for path, parts in self.layers(tensors).items():
            fold(host, f"{path}.weight", lambda stock, parts=parts: self._change(stock, parts, now), grip)
        own = grip.refreshes[first:]

        def follow():
            if now.at(bus.progress):
                for refresh in own:
                    refresh()

        if self.experts > 1:
            bus.listen(host.time_projection, follow)
            grip.releases.append(lambda: bus.unlisten(host.time_projection, follow))

    def _change(self, stock, parts, now):
        from ..functional.quantisation import quantise, rescaled

        output = parts[OUTPUT][now.current].to(stock)
        inward = parts[INPUT][now.current].to(stock) if INPUT in parts else stock.new_ones(stock.shape[1])
        if output.shape[0] != stock.shape[0] or inward.shape[0] != stock.shape[1]:
            raise RuntimeError(f"scales for {output.shape[0]} x {inward.shape[0]} on {tuple(stock.shape)}")
        return rescaled(quantise(stock, self.bits).centred, output, inward) - stock


class _Experts:
    """Which scales are in use: of each row of a batch in learning, of all rows in use."""

    def __init__(self, total: int, count: int):
        self.total, self.count = total, count
        self.rows = None
        self.current = 0

    def follow(self, module, arguments):
        """Hook: notes the experts [B] of the timesteps that the denoiser was called with."""
        from ..functional.quantisation import expert

        self.rows = expert(arguments[0].flatten(), self.total, self.count)

    def at(self, progress: float) -> bool:
        """Goes to the expert of a progress of denoising in [0, 1]; whether it is another one than before."""
        timestep, before = round((1.0 - progress) * (self.total - 1)), self.current
        self.current = min(timestep * self.count // self.total, self.count - 1)
        return self.current != before

    def pick(self, scales, like):
        """Each row's scales [B, c], with axes of one in the middle (linear layers) or at the end (kernels)."""
        chosen = scales[self.rows.to(scales.device)].to(like)
        if like.ndim == 4:
            return chosen[..., None, None]
        return chosen.view(len(chosen), *[1] * (like.ndim - 2), -1)


def _scale(module, now, output, inward):
    """Scales what goes into a layer of a clone and what comes out; its bias is added afterwards."""
    from torch import nn

    bias, module.bias = module.bias, None

    def before(module, arguments):
        return (arguments[0] * now.pick(inward, arguments[0]), *arguments[1:])

    def after(module, arguments, result):
        scaled = result * now.pick(output, result)
        if bias is None:
            return scaled
        return scaled + (bias[:, None, None] if isinstance(module, nn.Conv2d) else bias).to(scaled)

    module.register_forward_pre_hook(before)
    module.register_forward_hook(after)
