"""The world's denoiser: a small stock UNet2DConditionModel on 8x8 latents, trained jointly with its CLIPTextModel."""

import copy
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from .optim import Muon
from .tokenizer import MAX_LENGTH
from .training import Log, load_checkpoint, save_checkpoint

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
        with torch.autocast("cpu", torch.bfloat16):
            context = self.text_encoder(tokens).last_hidden_state
            velocity = self.unet(noisy, timesteps, context).sample
        target = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        snr = (alpha / (1 - alpha)).flatten()
        return (velocity.float() - target).square().mean((1, 2, 3)) * snr.clamp(max=SNR_LIMIT) / (snr + 1)


def train_denoiser(
    data: dict[str, Tensor],
    folder: Path,
    *,
    minutes: float,
    batch_size: int = 96,
    lr: float = 1e-3,
    threads: int = 2,
    seed: int = 0,
    compile: bool = True,
    max_steps: int | None = None,
) -> Denoiser:
    """Train for `minutes` in all, resuming from `folder/denoiser.pt`; returns the EMA weights.

    `data`: "mean" and "std" [N, 16, 8, 8] of unit-std latents, "tokens" [N, 32], "empty" [32] tokens of no caption,
    "vocabulary" the number of tokens.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = Denoiser(int(data["vocabulary"]))
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = Muon(model, lr, scale=15.0)
    parts = {"model": model, "ema": ema, "optimizer": optimizer}
    state = load_checkpoint(folder / "denoiser.pt", parts)
    step, spent = state.get("step", 0), state.get("seconds", 0.0)
    forward = torch.compile(model) if compile else model
    log = Log(folder / "denoiser.log", batch_size, every=50)
    started = saved = time.monotonic()
    while (elapsed := spent + time.monotonic() - started) < minutes * 60 and step != max_steps:
        progress = elapsed / (minutes * 60)
        optimizer.set_lr(lr * min(1, (step + 1) / 300) * learning_rate_factor(progress))
        loss = forward(*_batch(data, batch_size, torch.Generator().manual_seed(seed * 10_000_000 + step))).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(0.9993, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(ema.parameters()), [p.detach() for p in model.parameters()], 1 - decay)
        log(step, elapsed, loss=loss.item())
        if time.monotonic() - saved > 180:
            saved = time.monotonic()
            save_checkpoint(folder / "denoiser.pt", parts, step=step, seconds=spent + saved - started)
    save_checkpoint(folder / "denoiser.pt", parts, step=step, seconds=spent + time.monotonic() - started)
    return ema


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
