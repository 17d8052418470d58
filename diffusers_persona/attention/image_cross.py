"""Image cross-attention: the picture attends to a reference picture that goes through the same denoiser.

Source: Hao et al., ViCo, arXiv 2306.00971, section 3. The reference stays clean; it is read at the same timestep and
with the same text. Its text cross-attention to the concept's word tells which of its patches show the concept.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable

import torch
from diffusers.hooks import HookRegistry, ModelHook
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from ..functional.attention_maps import otsu
from ..spaces.sites import Hook
from .reading import Reading

REMEMBERED = 32
_OF_THE_CALL = ("class_labels", "timestep_cond", "attention_mask", "added_cond_kwargs", "encoder_attention_mask")


def crossing_like(block: nn.Module) -> BasicTransformerBlock:
    """A new block of the size of `block` whose second attention reads tokens of a picture instead of a text."""
    attention = block.attn1
    inner, width = attention.to_q.out_features, attention.to_q.in_features
    heads = attention.heads
    return BasicTransformerBlock(width, heads, inner // heads, cross_attention_dim=width, activation_fn="geglu")


def cross(crossing: nn.Module, tokens: Tensor, reference: Tensor, keep: Tensor) -> Tensor:
    """Tokens [B, N, c] after one crossing to the reference's tokens [B, M, c] where `keep` [B, M] is True."""
    bias = torch.zeros(keep.shape, dtype=tokens.dtype, device=tokens.device)
    bias = bias.masked_fill(~keep, torch.finfo(tokens.dtype).min)
    return crossing(tokens, encoder_hidden_states=reference, encoder_attention_mask=bias[:, None])


class Spotter:
    """Finds a word in the text states that a denoiser is called with: it saw them when they were encoded."""

    def __init__(self, word_id: Callable[[], int], end_id: int):
        self.word_id, self.end_id = word_id, end_id
        self.seen: list[tuple[Tensor, int, int]] = []

    def note(self, state: Tensor, ids: Tensor) -> Tensor:
        """Remembers the rows of `state` [B, L, d] whose `ids` [B, L] hold the word; gives `state` back."""
        here, ends = ids == self.word_id(), ids == self.end_id
        for row in here.any(1).nonzero().flatten().tolist():
            self.seen.append((state[row].detach(), int(here[row].int().argmax()), int(ends[row].int().argmax())))
        del self.seen[:-REMEMBERED]
        return state

    def find(self, states: Tensor) -> list[tuple[int, int] | None]:
        """Where the word and the end of the text stand in each row of `states` [B, L, d]; None where there is no word.

        An unconditional row has the places of the row that it guides.
        """
        found = [self._places(row) for row in states.detach()]
        half, odd = divmod(len(found), 2)
        return found if odd else [own or found[(row + half) % len(found)] for row, own in enumerate(found)]

    def _places(self, state):
        for known, place, end in reversed(self.seen):
            if known.shape[0] == state.shape[0] and torch.equal(known.to(state), state[:, : known.shape[1]]):
                return place, end
        return None


class Sight:
    """One concept's view of its reference: the picture, the crossings, and what the last look has seen.

    Attributes:
        crossings: path of a transformer block -> the crossing behind it.
        reference: latents [1, c, h, w], or [B, c, h, w] with one for each row of the batch.
        spotter: finds the concept's word.
        strength: the scale now; 0 for no look at all.
        learned: whether the crossings are being learned; else they follow the host's device and precision.
        words: path -> the last look's attention to the word and to the end of the text, each [B, M].
    """

    def __init__(
        self, crossings: dict, reference: Tensor, spotter: Spotter, strength: Callable[[], float], learned: bool
    ):
        self.crossings, self.reference, self.spotter = crossings, reference, spotter
        self.strength, self.learned = strength, learned
        self.words: dict[str, tuple[Tensor, Tensor]] = {}
        self.tokens: dict[str, Tensor] = {}
        self.rows: Tensor | None = None

    def look(self, denoiser: nn.Module, sample: Tensor, timestep, states: Tensor, options: dict):
        """Sends the reference through the denoiser, unless the text does not speak of the concept."""
        self.words, self.tokens, self.rows = {}, {}, None
        places = self.spotter.find(states)
        if self.strength() == 0.0 or not any(places):
            return
        reference = self.reference.to(sample).expand(len(sample), -1, -1, -1)
        with Reading(denoiser, [f"{path}.attn2" for path in self.crossings]) as reading:
            denoiser(reference, timestep, encoder_hidden_states=states, return_dict=False, **options)
        self.rows = torch.tensor([place is not None for place in places], device=sample.device)
        every, (words, ends) = torch.arange(len(sample)), zip(*(place or (0, 0) for place in places))
        for path in self.crossings:
            maps = reading.maps[f"{path}.attn2"].mean(1)
            self.words[path] = maps[every, :, list(words)], maps[every, :, list(ends)]

    def after(self, path: str, tokens: Tensor) -> Tensor:
        """The tokens behind block `path` with what they took from the reference."""
        strength = self.strength()
        if self.rows is None or path not in self.crossings or strength == 0.0:
            return tokens
        crossing = self.crossings[path]
        if not self.learned:
            crossing.to(tokens.device, tokens.dtype)
        crossed = cross(crossing, tokens, self.tokens[path], otsu(self.words[path][0].detach().float()))
        crossed = crossed if strength == 1.0 else torch.lerp(tokens, crossed, strength)
        return torch.where(self.rows[:, None, None], crossed, tokens)


class ImageCrossSite(Hook):
    """All sights on one denoiser: before a forward pass each looks at its reference; blocks then ask `after`."""

    def __init__(self, denoiser: nn.Module):
        self.denoiser = denoiser
        self.sights: list[tuple[tuple, Sight]] = []
        self.looking: Sight | None = None
        # Before late text takes its ids off the states: the look is a whole pass of its own, with late text in it.
        self.handle = denoiser.register_forward_pre_hook(self, with_kwargs=True, prepend=True)

    @classmethod
    def of(cls, denoiser: nn.Module) -> ImageCrossSite:
        """The site of `denoiser`, made on first use."""
        present = [hook for hook in denoiser._forward_pre_hooks.values() if isinstance(hook, cls)]
        return present[0] if present else cls(denoiser)

    def __call__(self, denoiser, args, kwargs):
        """Lets every sight look, in the order of their keys."""
        if self.looking is not None:
            return
        given = dict(zip(("sample", "timestep", "encoder_hidden_states", "class_labels"), args)) | kwargs
        options = {name: given[name] for name in _OF_THE_CALL if given.get(name) is not None}
        try:
            for _, sight in self.sights:
                self.looking = sight
                sight.look(denoiser, given["sample"], given["timestep"], given["encoder_hidden_states"], options)
        finally:
            self.looking = None

    def after(self, path: str, tokens: Tensor) -> Tensor:
        """What goes on behind block `path`: in a look the tokens are noted, else every sight adds its crossing."""
        if self.looking is not None:
            self.looking.tokens[path] = tokens
            return tokens
        for _, sight in self.sights:
            tokens = sight.after(path, tokens)
        return tokens

    def add(self, key: tuple, sight: Sight):
        """Adds a sight, and hooks the blocks that it crosses behind."""
        bisect.insort(self.sights, (key, sight), key=lambda entry: entry[0])
        for path in sight.crossings:
            registry = HookRegistry.check_if_exists_or_initialize(self.denoiser.get_submodule(path))
            if registry.get_hook(_Behind.name) is None:
                registry.register_hook(_Behind(self, path), _Behind.name)

    def remove(self, sight: Sight):
        """Removes a sight, and with the last one every hook."""
        self.sights = [entry for entry in self.sights if entry[1] is not sight]
        wanted = {path for _, other in self.sights for path in other.crossings}
        for path in set(sight.crossings) - wanted:
            registry = HookRegistry.check_if_exists_or_initialize(self.denoiser.get_submodule(path))
            registry.remove_hook(_Behind.name, recurse=False)
        if not self.sights:
            self.handle.remove()


class _Behind(ModelHook):
    """Hands a transformer block's output to the site."""

    name = "persona.image_cross"

    def __init__(self, site: ImageCrossSite, path: str):
        super().__init__()
        self.site, self.path = site, path

    def post_forward(self, module, output):
        """The block's output [B, N, c] after the crossings."""
        return self.site.after(self.path, output)
