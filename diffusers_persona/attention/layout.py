"""Layout guidance: a hook on each cross-attention layer that draws words to their regions of the picture.

The layers see text states and no words; a region therefore knows its words by their states, which the text encoder's
site notes when a prompt is encoded and which reach the layers unchanged.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor

from ..functional.layout import layout_logits, region_mask, region_weights
from ..spaces.base import Grip
from ..spaces.sites import Bus

MOST_STATES = 256


@dataclasses.dataclass(eq=False)
class Region:
    """One concept's part of the picture.

    Attributes:
        place: (left, top, right, bottom) as parts of the picture's sides, or a mask [H, W].
        strength: guidance weight.
        active, inactive: weights of the concept's words inside and outside.
        grip: the concept's hold: its strength multiplies the guidance.
    """

    place: Any
    strength: float
    active: float
    inactive: float
    grip: Grip
    states: Tensor | None = None

    def note(self, states: Tensor):
        """Remembers the text states [K, d] of the concept's words."""
        both = states.detach() if self.states is None else torch.cat([self.states.to(states), states.detach()])
        self.states = both[-MOST_STATES:]

    def words(self, text: Tensor) -> Tensor:
        """Whether each token of the text states [B, L, d] is a word of the concept, [B, L]."""
        if self.states is None or self.states.shape[-1] != text.shape[-1]:
            return torch.zeros(text.shape[:2], dtype=torch.bool, device=text.device)
        return (text[:, :, None] == self.states.to(text)).all(-1).any(-1)


class Layout:
    """The regions of one host, with the hooks that serve them."""

    def __init__(self, host):
        self.regions: dict[tuple, Region] = {}
        self.alphas = host.noise_schedule().alphas_cumprod
        self.bus = Bus.of(host.time_projection, len(self.alphas) - 1)
        self.size = (1, 1)

    @property
    def sigma(self) -> float:
        """The noise level now, of a picture of unit scale."""
        step = round((1.0 - self.bus.progress) * self.bus.last_timestep)
        alpha = float(self.alphas[min(max(step, 0), len(self.alphas) - 1)])
        return ((1.0 - alpha) / alpha) ** 0.5

    def logits(self, layer, hidden: Tensor, text: Tensor) -> Tensor | None:
        """What the layer adds to its scaled logits, [B, heads, N, L]; None where no word of a region is read."""
        weights = None
        for _, region in sorted(self.regions.items()):
            words = region.words(text)
            if region.grip.strength and words.any():
                mask = self._mask(region, hidden.shape[1], hidden.device)
                own = (
                    region.strength
                    * region.grip.strength
                    * region_weights(mask, words, region.active, region.inactive)
                )
                weights = own if weights is None else weights + own
        if weights is None:
            return None
        query, key = (
            projected.unflatten(-1, (layer.heads, -1)).transpose(1, 2).float()
            for projected in (layer.to_q(hidden), layer.to_k(text))
        )
        added = layer.scale * layout_logits(query, key, weights.float(), self.sigma, 1.0)
        least = torch.finfo(hidden.dtype).min / 2
        return added.clamp(min=least).expand(-1, layer.heads, -1, -1).to(hidden.dtype)

    def _mask(self, region, places: int, device):
        height, width = self.size
        rows = max(1, round((places * height / width) ** 0.5))
        return region_mask(region.place, rows, places // rows, device).flatten()


class GuideLayer(ModelHook):
    """Hands the layout's logits to a cross-attention layer, as an additive mask."""

    name = "persona.layout"

    def __init__(self, layout: Layout):
        super().__init__()
        self.layout = layout

    def pre_forward(self, module, hidden_states, encoder_hidden_states=None, attention_mask=None, **kwargs):
        """Adds to the mask that the layer is called with."""
        text = encoder_hidden_states[0] if isinstance(encoder_hidden_states, tuple) else encoder_hidden_states
        added = None if text is None else self.layout.logits(module, hidden_states, text)
        if added is not None:
            if attention_mask is not None:
                added = added + attention_mask.view(len(added), -1, 1, attention_mask.shape[-1])
            attention_mask = added.flatten(0, 1)
        states = dict(encoder_hidden_states=encoder_hidden_states, attention_mask=attention_mask)
        return (hidden_states,), {**states, **kwargs}


class NoteSize(ModelHook):
    """Notes the sides of the latents, on the denoiser's first convolution."""

    name = "persona.layout_size"

    def __init__(self, layout: Layout):
        super().__init__()
        self.layout = layout

    def pre_forward(self, module, sample, *args, **kwargs):
        """Notes them."""
        self.layout.size = tuple(sample.shape[-2:])
        return (sample, *args), kwargs


def guide(host, region: Region, grip: Grip):
    """Guides the words of `region` as long as `grip` holds; hooks come with the first one and go with the last."""
    first = host.denoiser.conv_in
    hook = HookRegistry.check_if_exists_or_initialize(first).get_hook(NoteSize.name)
    layout = hook.layout if hook is not None else Layout(host)
    layers = [host.denoiser.get_submodule(path) for path in host.attention_layers("cross")]
    key = (*grip.key, id(region))
    if not layout.regions:
        HookRegistry.check_if_exists_or_initialize(first).register_hook(NoteSize(layout), NoteSize.name)
        for layer in layers:
            HookRegistry.check_if_exists_or_initialize(layer).register_hook(GuideLayer(layout), GuideLayer.name)
        layout.bus.listen(host.time_projection, _nothing)
    layout.regions[key] = region

    def release():
        del layout.regions[key]
        if not layout.regions:
            layout.bus.unlisten(host.time_projection, _nothing)
            for layer in layers:
                HookRegistry.check_if_exists_or_initialize(layer).remove_hook(GuideLayer.name, recurse=False)
            HookRegistry.check_if_exists_or_initialize(first).remove_hook(NoteSize.name, recurse=False)

    grip.releases.append(release)


def _nothing():
    """The bus follows the timestep only while somebody listens."""
