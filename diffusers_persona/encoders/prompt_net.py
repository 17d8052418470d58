"""PromptNet: the way down of the host's own denoiser, made to read a picture and to give a word for each timestep."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PromptNet(nn.Module):
    """A picture's latents and a timestep -> a pseudo-word's embedding in each text encoder.

    The input, every stretch on the way down and the middle are pooled by strided convolutions to the middle's size,
    and together make the word. The cross-attention reads the picture's CLIP embedding as one token.

    Source: ProFusion, arXiv 2305.13579, PromptNet.

    Args:
        denoiser: a `UNet2DConditionModel`; its first half is copied, trainable.
        side: of the latents.
        seen: width of the CLIP embedding.
        first: text encoder's name -> the embedding [d] that the word begins as.
        pooled: channels of each pooled map.
        seed: of the first weights.
    """

    conv_in: nn.Module
    time_proj: nn.Module
    time_embedding: nn.Module
    down_blocks: nn.ModuleList
    mid_block: nn.Module

    def __init__(self, denoiser, side: int, seen: int, first: dict[str, Tensor], *, pooled: int = 128, seed: int = 0):
        super().__init__()
        fresh = type(denoiser).from_config(denoiser.config)  # without the hooks that words have put on the denoiser
        fresh.load_state_dict(denoiser.state_dict())
        for name in ("time_proj", "time_embedding", "conv_in", "down_blocks", "mid_block"):
            setattr(self, name, getattr(fresh, name))
        width = denoiser.config.block_out_channels[0]
        channels, sides = _levels(denoiser, side)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.reference = nn.Sequential(
                nn.Conv2d(denoiser.config.in_channels, width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
            self.see = nn.Linear(seen, denoiser.config.cross_attention_dim)
            self.pools = nn.ModuleList(
                nn.Conv2d(c, pooled, max(1, s // sides[-1]), stride=max(1, s // sides[-1]))
                for c, s in zip(channels, sides)
            )
            total = pooled * len(channels)
            self.words = nn.ModuleDict({n: nn.Conv2d(total, len(v), sides[-1]) for n, v in first.items()})
        for name, vector in first.items():
            nn.init.zeros_(self.words[name].weight)
            self.words[name].bias.data.copy_(vector)
        self.float().requires_grad_(True)

    def forward(self, latents: Tensor, timesteps: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """Text encoder's name -> the word [B, d]; of latents [B, c, h, w], timesteps [B], CLIP embeddings [B, e]."""
        time = self.time_embedding(self.time_proj(timesteps).to(latents))
        text = self.see(seen)[:, None]
        sample = self.conv_in(latents) + self.reference(latents)
        maps = [sample]
        for block in self.down_blocks:
            text_of = {"encoder_hidden_states": text} if getattr(block, "has_cross_attention", False) else {}
            sample, _ = block(hidden_states=sample, temb=time, **text_of)
            maps.append(sample)
        maps.append(self.mid_block(sample, time, encoder_hidden_states=text))
        joined = torch.cat([pool(each) for pool, each in zip(self.pools, maps)], dim=1)
        return {name: word(joined).flatten(1) for name, word in self.words.items()}


def _levels(denoiser, side: int) -> tuple[list[int], list[int]]:
    """Channels and sides of the maps that are pooled: the input's, each stretch's and the middle's."""
    widths = list(denoiser.config.block_out_channels)
    sides = [side]
    for n in range(len(widths)):
        sides.append(sides[-1] // 2 if n < len(widths) - 1 else sides[-1])
    return [widths[0], *widths, widths[-1]], [*sides, sides[-1]]
