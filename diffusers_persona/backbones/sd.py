"""Stable Diffusion 1.x and 2.x: a UNet with cross-attention to one CLIP text encoder."""

from __future__ import annotations

from .base import Backbone


class StableDiffusion(Backbone):
    """Conditions: ``encoder_hidden_states`` [B, L, d], the text encoder's last hidden state."""

    name = "sd"
    encoder_names = ("text_encoder",)
    tokenizer_names = ("tokenizer",)

    @staticmethod
    def text_state(output):
        """The last hidden state."""
        return output[0]

    @staticmethod
    def with_text_state(output, state):
        """The output with another last hidden state."""
        return type(output)(**{**output, "last_hidden_state": state})

    @staticmethod
    def raw_text_state(output):
        """The last layer's output, before the final norm."""
        return output.hidden_states[-1]

    @staticmethod
    def finish_text(encoder, raw):
        """The final norm."""
        return getattr(encoder, "text_model", encoder).final_layer_norm(raw)

    def encode_text(self, ids):
        """The last hidden state of the text encoder."""
        encoder = self.pipe.text_encoder
        return {"encoder_hidden_states": encoder(ids["text_encoder"].to(encoder.device))[0]}

    def denoise(self, noisy, timesteps, conditions):
        """The UNet's prediction."""
        return self.denoiser(noisy, timesteps, encoder_hidden_states=conditions["encoder_hidden_states"]).sample
