"""The world's denoiser: a small stock UNet2DConditionModel on 8x8 latents, trained jointly with its CLIPTextModel."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import parallel
from .optim import Muon
from .tokenizer import MAX_LENGTH
from .training import Trainer

CHANNELS, TEXT_WIDTH = (96, 160), 128
CAPTION_DROPOUT, SNR_LIMIT = 0.1, 5.0


def new_unet():
    """An untrained UNet2DConditionModel with cross-attention at 8x8, 4x4 and in the middle."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=tuple(channels // 32 for channels in CHANNELS),
        norm_num_groups=16,
    )


def new_text_encoder(vocabulary: int):
    """An untrained CLIPTextModel whose special tokens are the last two of `vocabulary`."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_LENGTH,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def new_scheduler():
    """The sampler of the world's pipeline, with Stable Diffusion's noise schedule and v-prediction."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="leading",
        prediction_type="v_prediction",
    )


class Denoiser(nn.Module):
    """UNet and text encoder as one module whose forward is the weighted loss of a batch."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.unet, self.text_encoder = new_unet(), new_text_encoder(vocabulary)
        self.register_buffer("alphas", new_scheduler().alphas_cumprod.float(), persistent=False)

    def forward(self, latents: Tensor, tokens: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        """Min-SNR weighted v-prediction loss of each sample [B] (Hang et al. 2023, weight min(snr, 5) / (snr + 1))."""
        alpha = self.alphas[timesteps][:, None, None, None]
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        # The backward pass of the fused CPU attention takes a third of a step at these sizes; the plain one does not.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            context = self.text_encoder(tokens).last_hidden_state
            velocity = self.unet(noisy, timesteps, context).sample
        target = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        snr = (alpha / (1 - alpha)).flatten()
        return (velocity.float() - target).square().mean((1, 2, 3)) * snr.clamp(max=SNR_LIMIT) / (snr + 1)


def train_denoiser(
    data: dict[str, Tensor], folder: Path, *, minutes: float, batch_size: int = 64, lr: float = 1e-3, seed: int = 0
) -> None:
    """Train for `minutes` in all, resuming from `folder/denoiser.pt`, whose "ema" are the averaged weights.

    `data`: "mean" and "std" [N, 16, 8, 8] of unit-std latents, "tokens" [N, 32], "empty" [32] tokens of no caption,
    "vocabulary" the number of tokens. Runs in every process of `parallel.launch`.
    """
    torch.manual_seed(seed)
    model = Denoiser(int(data["vocabulary"]))
    optimizer = Muon(model, lr, scale=15.0)
    trainer = Trainer(model, optimizer, folder / "denoiser.pt", batch_size=batch_size, minutes=minutes)
    share = batch_size // parallel.processes()
    while (progress := trainer.progress()) < 1:
        optimizer.set_lr(lr * min(1, (trainer.step + 1) / 300) * learning_rate_factor(progress))
        rng = torch.Generator().manual_seed((seed * 1_000_000 + trainer.step) * 16 + parallel.rank())
        trainer.update(model(*_batch(data, share, rng)).mean())
    trainer.save()


def learning_rate_factor(progress: float) -> float:
    """Constant until 40 % of the time, then a cosine down to 2 %."""
    return max(0.02, 0.5 + 0.5 * math.cos(math.pi * max(0.0, (progress - 0.4) / 0.6)))


def _batch(data: dict[str, Tensor], size: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents, tokens (some dropped), stratified timesteps and noise."""
    chosen = torch.randint(len(data["mean"]), (size,), generator=rng)
    mean, std = data["mean"][chosen].float(), data["std"][chosen].float()
    latents = mean + std * torch.randn(mean.shape, generator=rng)
    tokens = data["tokens"][chosen].long()
    tokens[torch.rand(size, generator=rng) < CAPTION_DROPOUT] = data["empty"].long()
    timesteps = ((torch.arange(size) + torch.rand(size, generator=rng)) / size * 1000).long().clamp(0, 999)
    return latents, tokens, timesteps, torch.randn(mean.shape, generator=rng)
