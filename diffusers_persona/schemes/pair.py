"""A subject LoRA and a style LoRA in one clone of the host: the merged denoiser, and each alone as its teacher."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from ..errors import PersonaError
from ..functional.low_rank import product
from ..functional.merging_columns import predicted_columns
from .merging_parts import Materials, factors, words


@dataclasses.dataclass(kw_only=True)
class Pair:
    """Two LoRAs that act through forward hooks, on rows of their own or both on all rows.

    Attributes:
        host: private clone with the hooks.
        factors: of each LoRA, layer -> (A, scaled B), on the host's device.
        examples: of each concept.
        schedule: the host's forward process.
        columns: layer -> coefficients of both, in the merged passes; None lets each LoRA act on its own half of the
            rows.
        texts: prompts -> conditions, where no LoRA changes the text encoders.
    """

    host: Any
    factors: list[dict[str, tuple[Tensor, Tensor]]]
    examples: list
    schedule: Any
    columns: dict | None = None
    texts: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, concepts, pipe, materials: Materials, *, prompt: str, batch_size: int) -> Pair:
        """The pair with its hooks in place.

        Raises:
            PersonaError: these are not two, or one of them is no LoRA.
        """
        from .. import backbones
        from ..training.examples import Examples, Source

        if len(concepts) != 2:
            raise PersonaError(f"this merge takes two concepts, a subject and a style; given: {len(concepts)}")
        both = [factors(concept) for concept in concepts]
        sources = _pictures(concepts, pipe, materials)
        host = backbones.of(pipe).private_clone()
        _install_words(host, concepts)
        examples = []
        for concept, pictures in zip(concepts, sources):
            text = prompt.format(phrase=concept.phrase)
            source = Source(host, pictures, lambda example, random, text=text: text, resolution=host.resolution)
            examples.append(Examples(source, None, batch_size=batch_size, seed=materials.seed))
        placed = [{path: (a.to(host.device), b.to(host.device)) for path, (a, b) in own.items()} for own in both]
        pair = cls(host=host, factors=placed, examples=examples, schedule=host.noise_schedule())
        pair._install()
        return pair

    @property
    def device(self):
        """The host's device."""
        return self.host.device

    def shared(self) -> dict[str, int]:
        """Layer that both change -> number of its input columns."""
        first, second = self.factors
        return {path: down.shape[1] for path, (down, _) in first.items() if path in second}

    def loss(self, columns: dict, number: int) -> Tensor:
        """Mean squared distance of the merged denoiser from each LoRA's own, summed over both; a scalar.

        Args:
            columns: layer -> coefficients [in] of both LoRAs; layers that are absent are summed.
            number: of the step; chooses pictures, noise and timesteps.
        """
        batches, randoms = zip(*(examples.batch(number) for examples in self.examples))
        latents = torch.cat([batch.latents for batch in batches])
        noise = torch.randn(latents.shape, generator=randoms[0]).to(latents)
        steps = self.schedule.config.num_train_timesteps
        timesteps = torch.randint(0, steps, (len(latents),), generator=randoms[0]).to(latents.device)
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        prompts = [prompt for batch in batches for prompt in batch.prompts]
        self.columns = None
        with torch.no_grad():
            wanted = self._predict(noisy, timesteps, prompts)
        self.columns = columns
        found = self._predict(noisy, timesteps, prompts)
        halves = zip(found.float().chunk(2), wanted.float().chunk(2))
        return sum(torch.nn.functional.mse_loss(ours, theirs) for ours, theirs in halves)

    def _predict(self, noisy, timesteps, prompts):
        if any(path.startswith("text_encoder") for own in self.factors for path in own):
            return self.host.denoise(noisy, timesteps, self.host.encode_text(self.host.tokenize(prompts)))
        key = tuple(prompts)
        if key not in self.texts:
            with torch.no_grad():
                self.texts[key] = self.host.encode_text(self.host.tokenize(prompts))
        return self.host.denoise(noisy, timesteps, self.texts[key])

    def _install(self):
        from ..spaces.sites import unwrapped

        for path in {**self.factors[0], **self.factors[1]}:
            component, _, inner = path.partition(".")
            module, _ = self.host.locate(self.host.component(component), inner, path)
            unwrapped(module).register_forward_hook(self._hook(path))

    def _hook(self, path):
        first, second = (own.get(path) for own in self.factors)

        def hook(module, inputs, output):
            (x,) = inputs
            if self.columns is None:
                halves = zip(x.chunk(2), (first, second))
                changes = [_change(module, half, own) for half, own in halves]
                shapes = [torch.zeros_like(part) for part in output.chunk(2)]
                return output + torch.cat([zero if c is None else c for zero, c in zip(shapes, changes)])
            columns = self.columns.get(path, (None, None))
            for own, m in zip((first, second), columns):
                change = _change(module, x if m is None else x * _along(m, x), own)
                output = output if change is None else output + change
            return output

        return hook


def _change(module, x, own):
    """B A x for a linear layer or a convolution."""
    if own is None:
        return None
    down, up = (factor.to(x) for factor in own)
    if isinstance(module, torch.nn.Conv2d):
        inner = torch.nn.functional.conv2d(x, down, None, module.stride, module.padding, module.dilation)
        return torch.nn.functional.conv2d(inner, up)
    return torch.nn.functional.linear(torch.nn.functional.linear(x, down), up)


def _along(columns, x):
    """Coefficients of the input channels in the shape of `x`: the last axis, or the second of a picture."""
    return columns.to(x) if x.ndim < 4 else columns.to(x).reshape(1, -1, 1, 1)


def _install_words(host, concepts):
    from ..spaces.base import Grip

    for n, (space, tensors) in enumerate(words(concepts)):
        own = {name: tensor.to(host.device) for name, tensor in tensors.items()}
        space.attach(host, own, Grip(key=(n,)))


@torch.no_grad()
def _pictures(concepts, pipe, materials, count: int = 4):
    """The pictures of each concept; where none are given, those that the concept makes itself."""
    from .. import backbones
    from ..inversion.images import load_images

    side = backbones.of(pipe).resolution
    given = materials.pictures or (None,) * len(concepts)
    found = []
    for concept, pictures in zip(concepts, given):
        if pictures is None:
            with concept.attach(pipe):
                random = torch.Generator().manual_seed(materials.seed)
                options = dict(num_images_per_prompt=count, height=side, width=side, generator=random)
                pictures = pipe(f"a {concept.phrase}", num_inference_steps=25, **options).images
        found.append(load_images(pictures, resolution=side) if not hasattr(pictures, "examples") else pictures)
    return found


# --------------------------------------------------------------------------------------------------- predicted columns


def predictions(both, network: dict[str, Tensor], targets) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer that both LoRAs change -> coefficients of both: the network's at `targets`, 1 elsewhere.

    Raises:
        PersonaError: the network was made for layers of other widths.
    """
    first, second = both
    found = {}
    for path in first:
        if path not in second:
            continue
        changes = [product(*own[path]).flatten(1) for own in both]
        if not path.endswith(tuple(targets)):
            found[path] = tuple(torch.ones(change.shape[1], device=change.device) for change in changes)
            continue
        try:
            found[path] = predicted_columns(*changes, network)
        except KeyError as error:
            raise PersonaError(
                f"layer {path}: the network has no input of {error.args[0]} numbers (two columns of this layer); "
                "it was trained for another model"
            ) from None
    return found


def new_network(pairs: list[Pair], targets, hidden: int, seed: int) -> dict[str, torch.nn.Parameter]:
    """A network for the widths of the pairs' layers, with outputs near 1."""
    heights = {len(up) for pair in pairs for own in pair.factors for p, (_, up) in own.items() if p.endswith(targets)}
    if not heights:
        raise PersonaError(f"no layer of the LoRAs ends with one of {', '.join(targets)}; check targets=")
    random, device = torch.Generator().manual_seed(seed), pairs[0].device
    network = {}
    for n, height in enumerate(sorted(heights), 1):
        weight = torch.randn(hidden, 2 * height, generator=random) / (2 * height) ** 0.5
        network |= {f"input_{n}.weight": weight, f"input_{n}.bias": torch.zeros(hidden)}
    network |= {"output.1.weight": 0.1 * torch.randn(2, hidden, generator=random) / hidden**0.5}
    network["output.1.bias"] = torch.ones(2)
    return {name: torch.nn.Parameter(tensor.to(device)) for name, tensor in network.items()}
