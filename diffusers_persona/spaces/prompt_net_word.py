"""A word that a network reads off a picture, anew for each timestep.

Source: ProFusion, arXiv 2305.13579.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptNetWord:
    """A word whose vector depends on the timestep; a PromptNet makes it of the concept's pictures (their mean word).

    What is trained is the network; the concept keeps its words at `times` timesteps, of which the nearest acts.

    Attributes:
        times: number of timesteps that are kept, evenly spread.
        clip: name of the CLIP that sees the pictures (see `encoders.clip`); empty for the host's usual one.
        part, name, token: as of `Word`.
    """

    kind: ClassVar[str] = "prompt_net_word"
    adds_token: ClassVar[bool] = True
    trains_text: ClassVar[bool] = True

    times: int = 50
    clip: str = ""
    part: int | str | None = None
    name: str = ""
    token: str | None = None

    def __post_init__(self):
        if self.times < 1:
            raise PersonaError(f"PromptNetWord(times={self.times}): give at least one")

    def prepare(self, host, subject: Subject) -> Learner:
        """The network's weights as parameters; the pictures are encoded once."""
        import torch

        from ..encoders.clip import image_features
        from ..encoders.prompt_net import PromptNet
        from .late_text import install
        from .timed_words import NetWord, timesteps_of
        from .word import Word

        first = {
            name: Word().initial(encoder, host.tokenizers[name], subject, subject.seed)[0]
            for name, encoder in host.text_encoders.items()
        }
        clip = image_features(host, self.clip or None)
        with torch.no_grad():
            pixels = subject.pictures.pixels(subject.resolution).to(host.device)
            latents, seen = host.encode_images(pixels)[0].float(), clip.images(pixels).float()
        net = PromptNet(host.denoiser, latents.shape[-1], clip.width, first, seed=subject.seed).to(host.device)
        words = {name: NetWord(net, name, latents, seen) for name in first}
        install(host, subject.word(self), words, Grip(key=()))
        steps = host.noise_schedule().config.num_train_timesteps

        def export():
            with torch.no_grad():
                made = NetWord.rows(net, latents, seen, timesteps_of(self.times, steps).to(latents.device))
            return {f"{name}.rows": rows for name, rows in made.items()}

        return Learner(
            parameters=dict(net.named_parameters()),
            constants={f"{name}.initial": vector[None] for name, vector in first.items()},
            export=export,
        )

    def attach(self, host, tensors, grip: Grip):
        """Adds the token; a scale s moves each vector from the class word's (s = 0) to the learned one (s = 1)."""
        from .late_text import Scaled, install
        from .timed_words import TimedWord

        words, steps = {}, host.pipe.scheduler.config.num_train_timesteps
        for name, encoder in host.text_encoders.items():
            width = encoder.get_input_embeddings().embedding_dim
            for key, shape in (("rows", (self.times, width)), ("initial", (1, width))):
                found = tensors.get(f"{name}.{key}")
                if found is None or tuple(found.shape) != shape:
                    present = "is missing" if found is None else f"has shape {tuple(found.shape)}"
                    raise PersonaError(
                        f"word {self.token!r}: key '{name}.{key}' {present}, the host needs {shape}; attach the "
                        "concept to the kind of model that it was learned on"
                    )
            rows, initial = tensors[f"{name}.rows"], tensors[f"{name}.initial"]
            words[name] = Scaled(TimedWord(rows, steps), initial, grip)
        install(host, self.token, words, grip)
