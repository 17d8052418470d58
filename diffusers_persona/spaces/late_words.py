"""Late words: tables with a row for each layer (P+), networks of time (ProSpect), or of time and layer (NeTI)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import space_time, stages
from .base import Grip
from .late_parts import Context, LateRows, LateState, LateWord

MIDDLE = 499.5


class Draws:
    """What chance decides in learning: it depends on the concept's own batch alone, not on its company in a run.

    Attributes:
        timesteps: of the present pass [B]; None before the first one.
        random: generator of the present pass.
    """

    def __init__(self, seed: int):
        self.seed, self.timesteps, self.random = seed, None, torch.Generator()

    def follow(self, batch, timesteps: Tensor):
        """Begins a pass."""
        self.timesteps = timesteps.float()
        mark = hash((self.seed, *timesteps.tolist(), float(batch.latents.flatten()[0])))
        self.random.manual_seed(mark % 2**63)


class LayerWord(LateWord):
    """A table [layers, n, d]; the same tensor is looked up at each encoding."""

    by_layer = True

    def __init__(self, table: Tensor):
        self.table = table

    def __len__(self):
        return self.table.shape[1]

    def at(self, context):
        """The row of each text's layer, or the mean over the layers."""
        if context is None:
            return LateRows(vectors=self.table.mean(0))
        return LateRows(vectors=self.table[context.layers.to(self.table.device)])


class StageWord(LateWord):
    """A word of one vector for each stage of the denoising, made by ProSpect's network.

    Args:
        parameters, initial: of `functional.stages.stage_embeddings`.
        count: number of stages.
        dropout, draws: in learning.
        use: the learned stage that acts in each stage, None for the initial vector; by default each its own.
    """

    def __init__(self, parameters: dict, initial: Tensor, count: int, *, use=None, dropout=0.0, draws=None):
        self.parameters, self.initial, self.count = parameters, initial, count
        self.use = range(count) if use is None else use
        self.dropout, self.draws = dropout, draws

    def __len__(self):
        return 1

    def stage(self, timestep):
        """The number of the stage."""
        return stages.stage(timestep, self.count)

    def at(self, context):
        """The vector of each text's stage, or the mean over the stages."""
        random = None if self.draws is None or context is None else self.draws.random
        learned = stages.stage_embeddings(self.parameters, self.initial, self.dropout, random)
        rows = torch.stack([self.initial.to(learned) if n is None else learned[n] for n in self.use])
        if context is None:
            return LateRows(vectors=rows.mean(0, keepdim=True))
        return LateRows(vectors=rows[[self.stage(float(t)) for t in context.timesteps]].unsqueeze(1))


class MappedWord(LateWord):
    """A word of one vector that NeTI's mapper makes of timestep and layer, with its textual bypass.

    Args:
        parameters: the mapper's; see `functional.space_time`.
        frequencies: of the positional encoding [m, 2].
        norm: length of the mapper's output.
        layers: number of blocks that read the text.
        bypass: alpha, or 0 for a mapper without bypass.
        keep: hidden units that act, None for all.
        dropout, draws: in learning, the probability that a pass keeps a random number of each text's units.
    """

    by_layer = True

    def __init__(self, parameters, frequencies, norm, layers, *, bypass=0.0, keep=None, dropout=0.0, draws=None):
        self.parameters, self.frequencies, self.norm, self.layers = parameters, frequencies, norm, layers
        self.bypass, self.keep, self.dropout, self.draws = bypass, keep, dropout, draws

    def __len__(self):
        return 1

    def stage(self, timestep):
        """The timestep itself."""
        return timestep

    def at(self, context):
        """The vector and the bypass of each text; the mean over the layers at half the noise stands for all."""
        if context is None:
            layers = torch.arange(self.layers)
            context = Context(timesteps=torch.full((self.layers,), MIDDLE), layers=layers, count=self.layers)
            return LateRows(vectors=self._rows(context, dropout=False).vectors.mean(0))
        return self._rows(context)

    def _rows(self, context, dropout=True) -> LateRows:
        place = dict(device=self.frequencies.device)
        encoded = space_time.positions_encoded(
            self.frequencies, context.timesteps.to(**place), context.layers.to(**place)
        )
        x = space_time.hidden(self.parameters, encoded)
        x = self._dropped(x, context) if dropout else x
        vectors = space_time.mapped(self.parameters, x, self.norm)
        if not self.bypass:
            return LateRows(vectors=vectors.unsqueeze(1))
        vectors, bypass = vectors.chunk(2, dim=1)
        bypass = self.bypass * torch.nn.functional.normalize(bypass, dim=1)
        return LateRows(vectors=vectors.unsqueeze(1), bypass=bypass.unsqueeze(1))

    def _dropped(self, x, context):
        """The units that act: `keep` of them; in learning, with chance `dropout`, a random number for each text."""
        if self.keep is not None:
            return space_time.truncated(x, torch.full((len(x),), self.keep, device=x.device))
        times, random = (None, None) if self.draws is None else (self.draws.timesteps, self.draws.random)
        if times is None or float(torch.rand((), generator=random)) >= self.dropout:
            return x
        keep = torch.randint(0, x.shape[1], (len(times), context.count), generator=random)
        row = (context.timesteps.cpu()[:, None] == times.cpu()).int().argmax(1)
        return space_time.truncated(x, keep[row, context.layers.cpu()].to(x.device))


class NearestState(LateState):
    """One state [L, d] for each of T timesteps; the nearest one acts, at the grip's strength.

    Args:
        ids: the prompt's token ids.
        timesteps: [T].
        states: [T, L, d].
    """

    def __init__(self, ids: tuple[int, ...], timesteps: Tensor, states: Tensor, grip: Grip):
        self.ids, self.timesteps, self.states, self.grip = ids, timesteps.float(), states, grip

    def stage(self, timestep):
        """The number of the nearest timestep, and the strength."""
        return int((self.timesteps - timestep).abs().argmin()), self.grip.strength

    def at(self, context, state):
        """The states of each text's timestep."""
        found = self.states[[self.stage(float(t))[0] for t in context.timesteps]].to(state)
        return torch.lerp(state, found, self.grip.strength)
