"""Examples: pictures become cached latents, prompts become cached text conditions, both become batches."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..inversion.augmentation import Chain
from ..inversion.images import example_to_tensors
from .randomness import generator, picks

VERSIONS = 32


@dataclasses.dataclass(kw_only=True)
class Batch:
    """One forward pass' worth of examples, concept rows first.

    Attributes:
        latents: [B, c, h, w].
        masks: [B, 1, h, w] in [0, 1], or None when no picture has one.
        part_masks: those of each thing that is learned, [B, parts, h, w], or None.
        prompts: B prompts.
        pictures: the index of each row's picture, -1 for pictures of the class.
        concept_rows: number of rows that show the concept.
    """

    latents: Tensor
    masks: Tensor | None
    part_masks: Tensor | None
    prompts: list[str]
    pictures: list[int]
    concept_rows: int


class Source:
    """Pictures of one role (the concept's, or the prior's) with their prompts.

    Every outcome of a static augmentation (a flip) is encoded once. A random one (a crop) is drawn from `VERSIONS`
    versions of each picture, which are encoded when they first come up; `fill` puts words into the slots that it
    leaves in a prompt.
    """

    def __init__(self, host, pictures, choose_prompt, *, augmentation=(), resolution: int, fill=None):
        self.host, self.pictures, self.choose_prompt = host, pictures, choose_prompt
        self.augmentation, self.resolution = Chain(steps=augmentation), resolution
        self.fill = fill or (lambda text: text)
        self.static = self.augmentation.is_static
        if self.static:
            self.variants = [self.augmentation.variants(*example_to_tensors(e, resolution), "") for e in pictures]
            self.moments = self._encode_all([pixels for outcomes in self.variants for pixels, _, _ in outcomes])
        else:
            self.tensors = [example_to_tensors(e, resolution) for e in pictures]
            self.moments, self.versions = {}, {}

    @torch.no_grad()
    def _encode_all(self, pixels: list[Tensor], at_once: int = 8):
        parts = [self.host.encode_images(torch.stack(pixels[i : i + at_once])) for i in range(0, len(pixels), at_once)]
        return tuple(torch.cat([moment.float() for moment in column]) for column in zip(*parts))

    def draw(self, count: int, position: int, random: torch.Generator, seed: int):
        """Latents, masks, prompts and numbers of `count` examples from `position` of the sequence on."""
        chosen = picks(len(self.pictures), count, position, seed)
        prompts = [self.choose_prompt(self.pictures[i], random) for i in chosen]
        if self.static:
            outcomes = [self.augmentation.choose(random) for _ in chosen]
            rows = [i * self.augmentation.variant_count + outcome for i, outcome in zip(chosen, outcomes)]
            mean, deviation = (moment[rows] for moment in self.moments)
            masks = [self.variants[i][outcome][1] for i, outcome in zip(chosen, outcomes)]
        else:
            versions = [int(torch.randint(VERSIONS, (), generator=random)) for _ in chosen]
            changed = [self._version(i, v, prompt, seed) for i, v, prompt in zip(chosen, versions, prompts)]
            mean, deviation, masks, prompts = (list(column) for column in zip(*changed))
            mean, deviation = torch.stack(mean), torch.stack(deviation)
        latents = mean + deviation * torch.randn(mean.shape, generator=random).to(mean)
        return latents, self._latent_masks(masks, latents), prompts, chosen

    def _version(self, picture: int, version: int, prompt: str, seed: int):
        """Moments, mask and prompt of one version of a picture, made when it first comes up."""
        if (picture, version, prompt) not in self.versions:
            random = generator(seed, picture, version, 2)
            pixels, mask, changed = self.augmentation.apply(*self.tensors[picture], prompt, random)
            if (picture, version) not in self.moments:
                mean, deviation = self._encode_all([pixels])
                self.moments[picture, version] = mean[0], deviation[0]
            self.versions[picture, version, prompt] = mask, self.fill(changed)
        return *self.moments[picture, version], *self.versions[picture, version, prompt]

    def _latent_masks(self, masks, latents):
        if all(mask is None for mask in masks):
            return None
        shape = latents.shape[-2:]
        whole = torch.ones(max(len(mask) for mask in masks if mask is not None), *shape)
        rows = [
            whole if m is None else torch.nn.functional.interpolate(m[None].float(), shape, mode="area")[0]
            for m in masks
        ]
        return torch.stack([row if len(row) == len(whole) else row.expand_as(whole) for row in rows]).to(
            latents.device
        )


class Examples:
    """Draws batches of the concept's source and, where there is one, the prior's."""

    def __init__(self, concept: Source, prior: Source | None, *, batch_size: int, seed: int):
        self.concept, self.prior, self.batch_size, self.seed = concept, prior, batch_size, seed

    def batch(self, part: int) -> tuple[Batch, torch.Generator]:
        """Batch number `part` of the run, and the generator that goes on where its draws ended."""
        random = generator(self.seed, part)
        latents, masks, prompts, pictures = self.concept.draw(
            self.batch_size, part * self.batch_size, random, self.seed
        )
        if self.prior is not None:
            more, more_masks, more_prompts, others = self.prior.draw(
                self.batch_size, part * self.batch_size, random, self.seed + 1
            )
            masks = _stack_masks(masks, more_masks, latents, more)
            latents, prompts = torch.cat([latents, more]), prompts + more_prompts
            pictures = [*pictures, *(-1 for _ in others)]
        batch = Batch(
            latents=latents,
            masks=None if masks is None else masks[:, :1],
            part_masks=masks[:, 1:] if masks is not None and masks.shape[1] > 1 else None,
            prompts=prompts,
            pictures=pictures,
            concept_rows=self.batch_size,
        )
        return batch, random


def _stack_masks(first, second, latents, more):
    if first is None and second is None:
        return None
    kinds = max(masks.shape[1] for masks in (first, second) if masks is not None)
    ones = [torch.ones(len(rows), kinds, *rows.shape[-2:], device=rows.device) for rows in (latents, more)]
    second = second if second is None else second.expand(-1, kinds, -1, -1)
    return torch.cat([ones[0] if first is None else first, ones[1] if second is None else second])


class TextConditions:
    """Text conditions of prompts: encoded once where nothing that is learned changes them, else at each step."""

    def __init__(self, host, changes):
        """`changes(prompt)` tells whether learning changes what the prompt means."""
        self.host, self.changes = host, changes
        self.ids: dict[str, dict] = {}
        self.cache: dict[str, dict] = {}

    def of(self, prompts: list[str]) -> dict:
        """Conditions of `prompts`, each tensor with the batch first; differentiable where they are learned."""
        live = [prompt for prompt in dict.fromkeys(prompts) if self.changes(prompt)]
        known = self._encode(live) if live else {}
        for prompt in prompts:
            if prompt not in known:
                known[prompt] = self._cached(prompt)
        return {k: torch.stack([known[p][k] for p in prompts]) for k in known[prompts[0]]}

    def _encode(self, prompts):
        for prompt in prompts:
            if prompt not in self.ids:
                self.ids[prompt] = {name: ids[0] for name, ids in self.host.tokenize([prompt]).items()}
        names = self.host.encoder_names
        conditions = self.host.encode_text({n: torch.stack([self.ids[p][n] for p in prompts]) for n in names})
        return {p: {k: v[i] for k, v in conditions.items()} for i, p in enumerate(prompts)}

    def _cached(self, prompt):
        if prompt not in self.cache:
            with torch.no_grad():
                self.cache[prompt] = self._encode([prompt])[prompt]
        return self.cache[prompt]
