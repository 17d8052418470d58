"""Spatial inversion: each thing is drawn in its box, by steering the latents before the first denoising steps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ..errors import PersonaError
from .prompting import Prompting

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpatialInversion:
    """Prompting, and `draw` for pictures with a box for each thing.

    Before a step, up to `iterations` times while the loss is above `threshold`: z <- z - (1 - alpha) scale dL/dz. L is
    the mean over layers, heads, things and the positions of their words of (1 - inside / all)^2 of the attention.

    Source: Zhang et al., Compositional Inversion, arXiv 2312.08048, spatial inversion, after training-free layout
    control, arXiv 2304.03373. The layers are those of the middle and of the first block on the way up.

    Attributes:
        scale: of the loss; the official sigma^2 grad on unscaled latents is the update above.
        threshold: of L, in [0, 1].
        iterations: the most updates before one step.
        steps: the number of first steps that are steered.
    """

    kind: ClassVar[str] = "spatial_inversion"

    scale: float = 30.0
    threshold: float = 0.2
    iterations: int = 5
    steps: int = 10

    def phrase(self, token: str, noun: str, spaces) -> str:
        """What stands for the concept in a prompt."""
        return Prompting().phrase(token, noun, spaces)

    def draw(self, pipe, prompt: str, boxes: dict, *, num_inference_steps: int = 50, generator=None, **options):
        """Pictures of `prompt` with each thing in its box; concepts that the prompt names are attached before.

        Args:
            pipe: a stock pipeline of a family that has a UNet.
            boxes: words of the prompt -> (left, top, right, bottom), parts of the picture in [0, 1].
            options: of the pipeline; `height`, `width` and `num_images_per_prompt` among them.

        Returns:
            What the pipeline returns.

        Raises:
            PersonaError: for a box outside the picture, or words that the prompt does not hold.
        """
        from diffusers.utils.torch_utils import randn_tensor

        guide = _Guide(self, pipe, prompt, boxes)
        host, side = guide.host, guide.host.resolution
        factor = pipe.vae_scale_factor
        sides = (options.get("height") or side) // factor, (options.get("width") or side) // factor
        shape = (options.get("num_images_per_prompt") or 1, host.denoiser.config.in_channels, *sides)
        latents = randn_tensor(shape, generator=generator, device=host.device, dtype=host.denoiser.dtype)
        pipe.scheduler.set_timesteps(num_inference_steps, device=host.device)
        start = float(pipe.scheduler.init_noise_sigma)
        latents = guide.steered(latents * start, 0) / start
        return pipe(
            prompt,
            latents=latents,
            num_inference_steps=num_inference_steps,
            generator=generator,
            callback_on_step_end=guide,
            callback_on_step_end_tensor_inputs=["latents"],
            **options,
        )


class _Guide:
    """The callback of one drawing."""

    def __init__(self, scheme: SpatialInversion, pipe, prompt: str, boxes: dict):
        from .. import backbones
        from ..spaces.tokens import positions

        self.scheme, self.pipe, self.host = scheme, pipe, backbones.of(pipe)
        tokenizer = self.host.tokenizers[self.host.encoder_names[0]]
        self.boxes = []
        for words, box in boxes.items():
            left, top, right, bottom = box
            found = positions(tokenizer, prompt, words)
            if not found or not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise PersonaError(
                    f"boxes={{{words!r}: {tuple(box)}}}: give words of the prompt {prompt!r}, and a box (left, top, "
                    "right, bottom) with 0 <= left < right <= 1 and 0 <= top < bottom <= 1"
                )
            self.boxes.append((found, box))
        self.layers = _guiding_layers(self.host)
        self.alphas = self.host.noise_schedule().alphas_cumprod
        self.text = self.host.encode_text(self.host.tokenize([prompt]))
        self.text = {name: tensor.detach() for name, tensor in self.text.items()}

    def __call__(self, pipe, number: int, timestep, inputs: dict) -> dict:
        """Steers the latents for the step after `number`."""
        following = number + 1
        if following < min(self.scheme.steps, len(pipe.scheduler.timesteps)):
            inputs["latents"] = self.steered(inputs["latents"], following)
        return inputs

    def steered(self, latents: Tensor, number: int) -> Tensor:
        """The latents before step `number`, each picture for itself."""
        import torch

        if number >= self.scheme.steps:
            return latents
        timestep = self.pipe.scheduler.timesteps[number]
        alpha = float(self.alphas[int(timestep.round())])
        unscaled = float(self.pipe.scheduler.init_noise_sigma) != 1.0
        factor = alpha**0.5 if unscaled else 1.0
        rows = []
        for row in latents.split(1):
            state = row.detach() * factor
            for _ in range(self.scheme.iterations):
                loss, gradient = self._outside(state, timestep)
                if loss <= self.scheme.threshold:
                    break
                state = state - (1.0 - alpha) * self.scheme.scale * gradient
            rows.append(row + (state - row * factor) / factor)
        return torch.cat(rows)

    def _outside(self, state, timestep):
        """L of one picture's latents in the denoiser's scale, and its gradient."""
        import torch

        from ..attention.reading import Reading

        with torch.enable_grad():
            state = state.detach().requires_grad_(True)
            with Reading(self.host.denoiser, self.layers) as reading:
                self.host.denoise(state, timestep.to(state.device).long().reshape(1), self.text)
            losses = [self._layer(maps[0]) for maps in reading.maps.values()]
            loss = torch.stack(losses).mean()
            (gradient,) = torch.autograd.grad(loss, state)
        return float(loss.detach()), gradient

    def _layer(self, maps):
        """The mean over things of their share outside, of one layer's maps [heads, h * w, L] of a square picture."""
        import math

        import torch

        from ..functional.attention_maps import box_region, outside

        side = math.isqrt(maps.shape[1])
        if side * side != maps.shape[1]:
            raise PersonaError("boxes are for square pictures; leave out height= and width=, or make them equal")
        found = []
        for places, box in self.boxes:
            own = maps[..., places].permute(0, 2, 1).unflatten(-1, (side, side))
            found.append(outside(own, box_region(box, side, side, like=own)))
        return torch.stack(found).mean()


def _guiding_layers(host) -> list[str]:
    """The cross-attention layers of the middle and of the first block on the way up that has some."""
    layers = host.attention_layers("cross")
    up = [path for path in layers if path.startswith("up_blocks.")]
    first = ".".join(up[0].split(".")[:2]) + "." if up else ""
    return [path for path in layers if path.startswith(("mid_block.", first) if first else "mid_block.")]
