"""Stable Diffusion XL: a UNet with two CLIP text encoders, a pooled text vector and the picture's size."""

from __future__ import annotations

import torch

from .base import Backbone


class StableDiffusionXL(Backbone):
    """Conditions: ``encoder_hidden_states`` [B, L, d1 + d2] (penultimate states), ``text_embeds`` [B, p] (pooled)."""

    name = "sdxl"
    encoder_names = ("text_encoder", "text_encoder_2")
    tokenizer_names = ("tokenizer", "tokenizer_2")

    @staticmethod
    def text_state(output):
        """The penultimate hidden state."""
        return output.hidden_states[-2] if output.hidden_states else None

    @staticmethod
    def with_text_state(output, state):
        """The output with another penultimate hidden state."""
        states = (*output.hidden_states[:-2], state, output.hidden_states[-1])
        return type(output)(**{**output, "hidden_states": states})

    @staticmethod
    def raw_text_state(output):
        """The penultimate hidden state: no norm follows it."""
        return output.hidden_states[-2]

    @staticmethod
    def finish_text(encoder, raw):
        """The state itself."""
        return raw

    def encode_text(self, ids):
        """Penultimate hidden states of both encoders side by side, and the second one's pooled projection."""
        states = []
        for name, encoder in self.text_encoders.items():
            output = encoder(ids[name].to(encoder.device), output_hidden_states=True)
            states.append(output.hidden_states[-2])
        return {"encoder_hidden_states": torch.cat(states, dim=-1), "text_embeds": output[0]}

    def denoise(self, noisy, timesteps, conditions):
        """The UNet's prediction for uncropped pictures of the latents' size."""
        height, width = (side * self.pipe.vae_scale_factor for side in noisy.shape[-2:])
        sizes = torch.tensor([height, width, 0, 0, height, width], dtype=noisy.dtype, device=noisy.device)
        added = {"text_embeds": conditions["text_embeds"], "time_ids": sizes.expand(len(noisy), -1)}
        return self.denoiser(
            noisy, timesteps, encoder_hidden_states=conditions["encoder_hidden_states"], added_cond_kwargs=added
        ).sample
