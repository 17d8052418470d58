"""Stable Diffusion 1.x and 2.x: a UNet with cross-attention to one CLIP text encoder."""

from __future__ import annotations

from .base import Backbone


class StableDiffusion(Backbone):
    """Conditions: ``encoder_hidden_states`` [B, L, d], the text encoder's last hidden state."""

    name = "sd"
    encoder_names = ("text_encoder",)
    tokenizer_names = ("tokenizer",)

    def encode_text(self, ids):
        """The last hidden state of the text encoder."""
        encoder = self.pipe.text_encoder
        return {"encoder_hidden_states": encoder(ids["text_encoder"].to(encoder.device))[0]}

    def denoise(self, noisy, timesteps, conditions):
        """The UNet's prediction."""
        return self.denoiser(noisy, timesteps, encoder_hidden_states=conditions["encoder_hidden_states"]).sample
