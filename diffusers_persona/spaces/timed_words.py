"""Late words of one vector for each timestep: from a table, or from a network that still learns."""

from __future__ import annotations

import torch
from torch import Tensor

from .late_text import LateRows, LateWord


def timesteps_of(count: int, steps: int) -> Tensor:
    """`count` timesteps spread evenly over 0..steps - 1, [count]."""
    return torch.linspace(0, steps - 1, count).round().long() if count > 1 else torch.tensor([steps // 2])


class TimedWord(LateWord):
    """A table [times, d]; the row of the nearest timestep acts, the mean stands for all.

    Args:
        rows: the table.
        steps: number of training timesteps.
    """

    def __init__(self, rows: Tensor, steps: int):
        self.table, self.times = rows, timesteps_of(len(rows), steps).float()

    def __len__(self):
        return 1

    def stage(self, timestep):
        """The number of the row."""
        return int((self.times - timestep).abs().argmin())

    def at(self, context):
        """The vectors [N, 1, d], or [1, d] without a context."""
        if context is None:
            return LateRows(vectors=self.table.mean(0, keepdim=True))
        return LateRows(vectors=self.table[[self.stage(float(t)) for t in context.timesteps]].unsqueeze(1))


class NetWord(LateWord):
    """The word of a `PromptNet` in one text encoder, for the pictures that it has been shown.

    Args:
        net: the network.
        name: of the text encoder.
        latents, seen: of the pictures, [R, c, h, w] and [R, e].
    """

    def __init__(self, net, name: str, latents: Tensor, seen: Tensor):
        self.net, self.name, self.latents, self.seen = net, name, latents, seen

    def __len__(self):
        return 1

    def stage(self, timestep):
        """The timestep itself."""
        return timestep

    def at(self, context):
        """The vectors [N, 1, d]; without a context that of the middle timestep, [1, d]."""
        times = torch.tensor([500.0], device=self.latents.device) if context is None else context.timesteps
        rows = self.rows(self.net, self.latents, self.seen, times)[self.name]
        return LateRows(vectors=rows if context is None else rows.unsqueeze(1))

    @staticmethod
    def rows(net, latents: Tensor, seen: Tensor, timesteps: Tensor) -> dict[str, Tensor]:
        """Text encoder's name -> the mean word of all pictures at each timestep, [N, d]."""
        count, pictures = len(timesteps), len(latents)
        words = net(
            latents.repeat(count, 1, 1, 1), timesteps.to(latents).repeat_interleave(pictures), seen.repeat(count, 1)
        )
        return {name: word.view(count, pictures, -1).mean(1) for name, word in words.items()}
