"""Which noise levels learning sees: a sampler draws the timesteps of each forward pass.

``draw(count, schedule, random)`` gives timesteps [count], whole numbers in [0, T), drawn from the generator `random`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import PersonaError


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Every timestep alike."""

    def draw(self, count, schedule, random):
        """Timesteps [count]."""
        import torch

        return torch.randint(0, schedule.config.num_train_timesteps, (count,), generator=random)


@dataclass(frozen=True, kw_only=True)
class Between:
    """Every timestep alike within a part of the process; 0 is the picture and 1 pure noise.

    Attributes:
        low, high: 0 <= low < high <= 1.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        if not 0.0 <= self.low < self.high <= 1.0:
            raise PersonaError(f"Between(low={self.low}, high={self.high}): give 0 <= low < high <= 1")

    def draw(self, count, schedule, random):
        """Timesteps [count]."""
        import torch

        steps = schedule.config.num_train_timesteps
        first = round(self.low * steps)
        return torch.randint(first, max(first + 1, round(self.high * steps)), (count,), generator=random)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Probability of timestep t: (1 - alpha cos(pi t / T)) / T; a positive alpha prefers noisy steps.

    Source: ReVersion, arXiv 2303.13495, equation 7.

    Attributes:
        alpha: in [-1, 1].
    """

    alpha: float = 0.5

    def __post_init__(self):
        if not -1.0 <= self.alpha <= 1.0:
            raise PersonaError(f"Cosine(alpha={self.alpha}): alpha lies in [-1, 1]")

    def draw(self, count, schedule, random):
        """Timesteps [count]."""
        import torch

        steps = schedule.config.num_train_timesteps
        weights = 1.0 - self.alpha * torch.cos(torch.pi * torch.arange(steps) / steps)
        return torch.multinomial(weights, count, replacement=True, generator=random)


@dataclass(frozen=True, kw_only=True)
class LogSNR:
    """The logarithm of the signal-to-noise ratio is normal; each draw takes the timestep whose ratio is nearest.

    Source: style-friendly SNR sampler, arXiv 2411.14793, section 3.

    Attributes:
        mean, deviation: of log(signal^2 / noise^2).
    """

    mean: float = -6.0
    deviation: float = 2.0

    def __post_init__(self):
        if self.deviation <= 0:
            raise PersonaError(f"LogSNR(deviation={self.deviation}): a deviation is above 0")

    def draw(self, count, schedule, random):
        """Timesteps [count]."""
        import torch

        alphas = schedule.alphas_cumprod.double().cpu()
        ratios = torch.log(alphas / (1.0 - alphas))
        wanted = self.mean + self.deviation * torch.randn(count, generator=random).double()
        return (ratios[None] - wanted[:, None]).abs().argmin(1)
