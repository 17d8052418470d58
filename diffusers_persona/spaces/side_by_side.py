"""Several LoRAs that are learned in one host: on which rows each acts, from which it learns, and what it reads.

Sources: Pair Customization, arXiv 2408.01556, section 3.3 (content and style from a pair of pictures); UnZipLoRA,
arXiv 2412.04465, sections 3.1 and 3.2 (prompt separation, merger vectors).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import PersonaError
from .base import Learner, Subject
from .column_choice import CLOCK, COLUMNS, ColumnChoice

MERGER = "merger"


@dataclasses.dataclass(kw_only=True)
class SideLearner(Learner):
    """A learner of one LoRA beside others; `lane` is its `Lane`."""

    lane: Any


def install(space, host, subject: Subject, learner: Learner, adapter: str) -> SideLearner:
    """Makes the PEFT adapter called `adapter` in the clone `host` follow the declaration `space`; see `Lane`."""
    import torch
    from torch import nn

    lane = Lane(space, host, subject)
    if lane.columns is not None:
        learner.state[CLOCK] = lane.columns.clock
    for path, module in host.denoiser.named_modules():
        if adapter not in getattr(module, "lora_B", {}):
            continue
        merger = None
        if space.merger_rate:
            up = module.lora_B[adapter].weight
            merger = nn.Parameter(torch.zeros(len(up), device=up.device))
            lane.mergers[f"{host.denoiser_name}.{path}"] = merger
            learner.parameters[f"{host.denoiser_name}.{path}.{MERGER}"] = merger
        module.lora_B[adapter].register_forward_hook(lane.after_up(merger))
        if space.prompt and path.endswith(("attn2.to_k", "attn2.to_v")):
            module.lora_A[adapter].register_forward_pre_hook(lane.read)
        if lane.columns is not None:
            name = f"{host.denoiser_name}.{path}"
            learner.state[f"{name}.{COLUMNS}"] = lane.columns.add(name, module.lora_A[adapter])
    return SideLearner(
        parameters=learner.parameters,
        constants=learner.constants,
        state=learner.state,
        constrain=lane.constrain,
        follow=lane.follow,
        export=lambda: lane.folded(learner.parameters),
        lane=lane,
    )


class Lane:
    """One LoRA's state in learning.

    `follow` is told of each batch, and the hooks on the adapter's halves go by it: B's output counts on the rows that
    the LoRA acts on, has a gradient on the rows that it learns from, and is multiplied by the merger vector m, one
    factor in [0, 1] for each output; A's input at the cross-attention's keys and values is the text of the LoRA's
    own prompt. The parameter of a merger vector is (m - 1) / rate, so that an Adam step moves m `rate` times as far;
    it rests while columns are measured.
    """

    def __init__(self, space, host, subject):
        self.space, self.host = space, host
        self.prompt = space.prompt and _filled(space.prompt, subject)
        self.mergers: dict = {}
        self.columns = ColumnChoice(space.columns, space.column_period, host.device) if space.columns else None
        self.acting = self.learning = self.states = None

    def follow(self, batch, timesteps):
        """Notes on which rows of `batch` the LoRA acts and from which it learns."""
        self.acting = _rows(batch.pictures, self.space.acts_on, timesteps.device)
        self.learning = _rows(batch.pictures, self.space.learns_from, timesteps.device)
        if self.columns is not None:
            self.columns.begin()

    def after_up(self, merger):
        """A forward hook for B."""
        import torch

        def hook(module, inputs, output):
            if merger is not None:
                resting = self.columns is not None and self.columns.probing
                output = output * self.vector(merger.detach() if resting else merger).to(output.dtype)
            if self.learning is not None and len(self.learning) == len(output):
                output = torch.where(_broad(self.learning, output), output, output.detach())
            if self.acting is not None and len(self.acting) == len(output):
                output = output * _broad(self.acting, output)
            return output

        return hook

    def read(self, module, inputs):
        """A forward pre-hook for A: the states of the LoRA's own prompt in the place of the picture's."""
        import torch

        if self.states is None:
            with torch.no_grad():
                self.states = self.host.encode_text(self.host.tokenize([self.prompt]))["encoder_hidden_states"]
        return (self.states.to(inputs[0]),)  # one row: the product is the same for all, and broadcast

    def vector(self, merger):
        """m of a merger's parameter, [out]."""
        return 1.0 + self.space.merger_rate * merger

    def vectors(self) -> dict:
        """Layer -> m, with gradient."""
        return {path: self.vector(merger) for path, merger in self.mergers.items()}

    def constrain(self):
        """After an optimiser step: keeps every m in [0, 1], and chooses columns where they were measured."""
        for merger in self.mergers.values():
            merger.data.clamp_(-1.0 / self.space.merger_rate, 0.0)
        if self.columns is not None:
            self.columns.step()

    def folded(self, parameters) -> dict:
        """The LoRA's tensors with mergers in the rows of B and columns in A, as an ordinary file has them."""
        found = {name: p for name, p in parameters.items() if not name.endswith(f".{MERGER}")}
        for path, merger in self.mergers.items():
            found[f"{path}.lora_B.weight"] = found[f"{path}.lora_B.weight"] * self.vector(merger)[:, None]
        for path, mask in self.columns.masks.items() if self.columns is not None else ():
            found[f"{path}.lora_A.weight"] = found[f"{path}.lora_A.weight"] * mask
        return found


def _filled(prompt, subject) -> str:
    phrases = [f"{part.token} {part.noun}" for part in subject.parts]
    try:
        return prompt.format(*phrases, nouns=[part.noun for part in subject.parts])
    except (IndexError, KeyError) as error:
        raise PersonaError(
            f"prompt {prompt!r} names a thing that noun={subject.noun!r} does not have; give e.g. 'cup and style'"
        ) from error


def _rows(pictures, place, device):
    """Which rows show the picture at `place` of a pair; None for all. Pictures of the class belong to every LoRA."""
    import torch

    if place is None:
        return None
    return torch.tensor([picture < 0 or picture % 2 == place for picture in pictures], device=device)


def _broad(rows, output):
    return rows.reshape(-1, *(1,) * (output.ndim - 1))
