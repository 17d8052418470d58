"""What a host pipeline offers, whatever its family."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import ClassVar

from ..errors import PersonaError


class Backbone:
    """A latent diffusion pipeline with a convolutional denoiser (``unet``), seen through the terms of this library.

    Shapes: pictures [B, 3, H, W] in [-1, 1]; latents [B, c, h, w] with about unit variance; text conditions as a dict
    of tensors whose first axis is the batch.
    """

    name: ClassVar[str]
    denoiser_name: ClassVar[str] = "unet"
    encoder_names: ClassVar[tuple[str, ...]]
    tokenizer_names: ClassVar[tuple[str, ...]]

    def __init__(self, pipe):
        self.pipe = pipe

    @classmethod
    def fits(cls, pipe) -> bool:
        """Whether `pipe` has exactly this family's components."""
        names = {
            n
            for n in ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
            if getattr(pipe, n, None) is not None
        }
        return names == {cls.denoiser_name, *cls.encoder_names}

    # ---------------------------------------------------------------------------------------------------- components

    @property
    def denoiser(self):
        """The denoising network."""
        return getattr(self.pipe, self.denoiser_name)

    @property
    def text_encoders(self) -> dict:
        """Component name -> text encoder."""
        return {name: getattr(self.pipe, name) for name in self.encoder_names}

    @property
    def tokenizers(self) -> dict:
        """Text encoder's component name -> tokenizer."""
        return {name: getattr(self.pipe, t) for name, t in zip(self.encoder_names, self.tokenizer_names)}

    @property
    def resolution(self) -> int:
        """Side of the pictures that the host was trained for, in pixels."""
        return self.denoiser.config.sample_size * self.pipe.vae_scale_factor

    @property
    def miniature(self) -> bool:
        """True for hosts of pictures of 64 pixels and less."""
        return self.resolution <= 64

    @property
    def time_projection(self):
        """The module that is called with the timestep at each denoising step."""
        return self.denoiser.time_proj

    @property
    def device(self):
        """Device of the denoiser."""
        return self.denoiser.device

    def component(self, name: str):
        """The module called `name`, e.g. ``"unet"`` or ``"text_encoder_2"``.

        Raises:
            PersonaError: when the family has no such component.
        """
        if name == self.denoiser_name:
            return self.denoiser
        if name in self.encoder_names:
            return self.text_encoders[name]
        raise PersonaError(
            f"the concept changes {name!r}, which a {self.name} model does not have; it was learned "
            "on another kind of model"
        )

    def locate(self, root, inner: str, path: str):
        """The submodule `inner` of `root` and its parent.

        Raises:
            PersonaError: naming the layer `path` when it is missing.
        """
        from ..formats.names import spellings

        for candidate in spellings(inner, root):
            try:
                return root.get_submodule(candidate), root.get_submodule(candidate.rpartition(".")[0])
            except AttributeError:
                continue
        raise PersonaError(
            f"layer {path}: {type(self.pipe).__name__} has no such layer; attach the concept to the "
            "kind of model that it was learned on"
        )

    def attention_layers(self, attention: str = "all") -> list[str]:
        """Paths of the denoiser's attention layers: ``"cross"``, ``"self"`` or ``"all"``, in the network's order."""
        chosen = []
        for path, module in self.denoiser.named_modules():
            if hasattr(module, "set_processor") and hasattr(module, "to_q"):
                cross = path.endswith("attn2")
                if attention == "all" or (attention == "cross") == cross:
                    chosen.append(path)
        return chosen

    def block(self, name: str) -> str:
        """Module path of the part of the denoiser that papers call a block.

        ``"down"``, ``"mid"`` and ``"up"`` are the stretches of a U-shaped network; ``"in.0"``, ``"out.0"``, ... its
        blocks on the way down and up; ``"down.0"``, ``"mid.0"``, ``"up.0"``, ... the stacks of attention layers in a
        stretch,
        counted in the network's order.

        Raises:
            PersonaError: naming the parts that the denoiser has.
        """
        parts = self.blocks()
        if name not in parts:
            raise PersonaError(f"block {name!r}: this {self.name} model has {', '.join(parts)}; choose one of them")
        return parts[name]

    def blocks(self) -> dict[str, str]:
        """Every part that `block` knows: name -> module path."""
        stretches = {"down": "down_blocks", "mid": "mid_block", "up": "up_blocks"}
        parts = dict(stretches)
        for name, stretch in (("in", "down_blocks"), ("out", "up_blocks")):
            count = len(self.denoiser.get_submodule(stretch))
            parts |= {f"{name}.{i}": f"{stretch}.{i}" for i in range(count)}
        for name, stretch in stretches.items():
            layers = [layer for layer in self.attention_layers() if layer.startswith(f"{stretch}.")]
            stacks = dict.fromkeys(layer.partition(".transformer_blocks.")[0] for layer in layers)
            parts |= {f"{name}.{i}": stack for i, stack in enumerate(stacks)}
        return parts

    def text_layers(self) -> list[str]:
        """Paths of the blocks that read the text, in the order in which they run: down, middle, up.

        The layers of P+ and its kin: each holds one cross-attention in SD, one or several in SDXL.
        """
        blocks = dict.fromkeys(path.partition(".transformer_blocks.")[0] for path in self.attention_layers("cross"))
        order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
        return sorted(blocks, key=lambda path: order.get(path.partition(".")[0], 1))

    # ----------------------------------------------------------------------------------------- a text encoder's output

    @staticmethod
    def text_state(output):
        """The state [B, L, d] in a text encoder's output that the denoiser reads; None when it was not asked for."""
        raise NotImplementedError

    @staticmethod
    def with_text_state(output, state):
        """The output with `state` in the place of what `text_state` gives."""
        raise NotImplementedError

    @staticmethod
    def raw_text_state(output):
        """The residual state [B, L, d] that `finish_text` makes the text state of; needs all hidden states."""
        raise NotImplementedError

    @staticmethod
    def finish_text(encoder, raw):
        """The text state of a residual state."""
        raise NotImplementedError

    # --------------------------------------------------------------------------------------------------------- maths

    def noise_schedule(self):
        """A training scheduler (forward process) with the host's betas and prediction type."""
        from diffusers import DDPMScheduler

        return DDPMScheduler.from_config(self.pipe.scheduler.config)

    def tokenize(self, prompts: list[str]) -> dict:
        """Text encoder's name -> token ids [B, L], padded to the model's length."""
        return {
            name: tokenizer(
                prompts,
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            for name, tokenizer in self.tokenizers.items()
        }

    def encode_text(self, ids: dict) -> dict:
        """Token ids [B, L] by encoder -> text conditions, each with the batch first. Differentiable."""
        raise NotImplementedError

    def denoise(self, noisy, timesteps, conditions: dict):
        """The denoiser's prediction [B, c, h, w] for noisy latents at integer timesteps [B]."""
        raise NotImplementedError

    def encode_images(self, pixels):
        """Mean and standard deviation of the latents' posterior, each [B, c, h, w], in the denoiser's scale."""
        vae = self.pipe.vae
        posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
        scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0
        return (posterior.mean - shift) * scale, posterior.std * scale

    def decode_latents(self, latents):
        """Pictures [B, 3, H, W] in about [-1, 1] of clean latents in the denoiser's scale. Differentiable."""
        vae = self.pipe.vae
        scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0
        return vae.decode((latents / scale + shift).to(vae.dtype)).sample

    # ------------------------------------------------------------------------------------------------------ identity

    def describe(self) -> dict:
        """What a concept's header tells of its base model: family, pipeline class, name and fingerprint."""
        return {
            "family": self.name,
            "pipeline": type(self.pipe).__name__,
            "name": self._base_name(),
            "shape": self.shape_digest(),
            "fingerprint": self.fingerprint(),
        }

    def _base_name(self) -> str:
        """The base model's Hub id, or its folder's name: a header tells nobody where things lie on a disk."""
        name = str(getattr(self.pipe.config, "_name_or_path", None) or "")
        return Path(name).name if Path(name).is_dir() else name

    def shape_digest(self) -> str:
        """Digest of all parameters' names and shapes: equal for models that can share concepts."""
        shapes = {
            name: {path: list(p.shape) for path, p in _stock_parameters(self.component(name))}
            for name in (self.denoiser_name, *self.encoder_names)
        }
        for name in self.encoder_names:
            shapes[name].pop(next((k for k in shapes[name] if k.endswith("token_embedding.weight")), ""), None)
        return hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:16]

    def fingerprint(self) -> str:
        """Digest of the shapes and of a sample of the weights: tells two trainings of one architecture apart."""
        digest = hashlib.sha256(self.shape_digest().encode())
        for path, parameter in _stock_parameters(self.denoiser):
            flat = parameter.detach().flatten()
            digest.update(path.encode())
            digest.update(flat[:: max(1, flat.numel() // 4)][:4].float().cpu().bfloat16().float().numpy().tobytes())
        return digest.hexdigest()[:16]

    # --------------------------------------------------------------------------------------------------------- clone

    def private_clone(self, dtype=None) -> Backbone:
        """A backbone to learn on: new modules that share the user's tensors, frozen, with tokenizers of their own.

        Nothing that learning does to the clone (adapters, hooks, train mode) reaches the user's pipeline; only what is
        trained takes memory. Of concepts that are attached the clone has the folded weights, but no words and hooks.
        With `dtype`, frozen weights are cast.
        """
        import torch
        from torch import nn

        from ..spaces.sites import take_off
        from ..spaces.tokens import stock_copy

        pipe = copy.copy(self.pipe)
        for name in ("vae", self.denoiser_name, *self.encoder_names):
            module = getattr(self.pipe, name)
            memo = {id(b): b for b in module.buffers()}
            for p in module.parameters():
                data = p.detach() if dtype is None or not torch.is_floating_point(p) else p.detach().to(dtype)
                memo[id(p)] = nn.Parameter(data, requires_grad=False)
            clone = copy.deepcopy(module, memo)
            take_off(clone)
            pipe.__dict__[name] = clone.eval()
        for name in self.tokenizer_names:
            pipe.__dict__[name] = stock_copy(getattr(self.pipe, name))
        return type(self)(pipe)


def _stock_parameters(module):
    """Named stock parameters, whatever concepts and adapters are attached."""
    found = {}
    for path, parameter in module.named_parameters():
        if "lora_" not in path:
            found.setdefault(path.replace("._persona.", ".").replace(".base_layer", ""), {})["._persona." in path] = (
                parameter
            )
    for path, versions in found.items():
        yield path, versions.get(True, versions.get(False))
