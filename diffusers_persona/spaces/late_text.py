"""Text that depends on layer and time: it is encoded when the denoiser asks, not before the denoising.

The conditions carry their prompt: each text encoder's site packs the token ids beside the state. At each call of the
denoiser `LateText` takes them off again, and encodes the prompts that hold a late word once more, in the context
(timestep, layer) of each block that reads the text. Conditions of other prompts pass through as they are.

Sources: P+, arXiv 2303.09522, section 3 (layers); ProSpect, arXiv 2305.16225, section 3 (time); NeTI, arXiv
2305.15391, section 4 (both, keys and values apart).
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from diffusers.hooks import HookRegistry
from torch import Tensor

from ..functional.packing import unpack
from ..functional.space_time import bypassed
from .base import Grip
from .late_hooks import ReadLayer, SplitValues, Strip, control_nets, register, unregister
from .late_parts import Context, LateRows, LateState, LateWord, Scaled
from .sites import Bus, EmbeddingSite, Hook
from .text_sites import TextOutputSite
from .tokens import ConceptTokens

MOST_ENCODINGS = 32

__all__ = ["Context", "LateRows", "LateState", "LateText", "LateWord", "Scaled", "install", "install_state"]


class LateText(Hook):
    """The late words of one host: a hook on its denoiser, and one on each block that reads the text."""

    def __init__(self, host):
        self.family = type(host)
        self.encoders, self.tokenizers = host.text_encoders, host.tokenizers
        self.widths = [e.get_input_embeddings().embedding_dim for e in self.encoders.values()]
        self.denoiser, self.time_projection = host.denoiser, host.time_projection
        self.layers = host.text_layers()
        self.users = 0
        self.states: dict[str, list[LateState]] = {name: [] for name in self.encoders}
        self.encoding = False
        self.now: list[tuple[Tensor, Tensor | None]] | None = None
        self.cache: OrderedDict = OrderedDict()
        self._seen: tuple[Any, list[tuple]] = (None, [])
        self._warned = False

    # -------------------------------------------------------------------------------------------------- on and off

    @classmethod
    def of(cls, host) -> LateText:
        """The late text of `host`, made on first use."""
        for hook in host.denoiser._forward_pre_hooks.values():
            if isinstance(hook, cls):
                return hook
        return cls(host)

    def join(self, host):
        """One more word uses it; the first one puts the hooks on."""
        self.users += 1
        if self.users > 1:
            return
        self.handles = [host.denoiser.register_forward_pre_hook(self, with_kwargs=True)]
        for net in control_nets(host.pipe):
            self.handles.append(net.register_forward_pre_hook(Strip(self.widths), with_kwargs=True))
        for number, path in enumerate(self.layers):
            block = host.denoiser.get_submodule(path)
            register(block, ReadLayer(self, number))
            for inner in block.transformer_blocks:
                register(inner, SplitValues())
        for name in self.encoders:
            TextOutputSite.of(host, name).late = self

    def leave(self, host):
        """One word less; the last one takes the hooks off."""
        self.users -= 1
        if self.users:
            return self.forget()
        for name in self.encoders:
            site = TextOutputSite.of(host, name)
            site.late = None
            site.leave()
        for path in self.layers:
            block = self.denoiser.get_submodule(path)
            for inner in block.transformer_blocks:
                unregister(inner, SplitValues)
            unregister(block, ReadLayer)
        for handle in self.handles:
            handle.remove()

    def forget(self):
        """Drops what is encoded: the prompts are encoded anew, or a word has changed."""
        self.cache.clear()

    # --------------------------------------------------------------------------------------------- the denoiser's call

    def __call__(self, denoiser, args, kwargs):
        """Takes the ids off the text states, and encodes what each block will read."""
        self.now = None
        timesteps = args[1] if len(args) > 1 else kwargs["timestep"]
        states = args[2] if len(args) > 2 else kwargs["encoder_hidden_states"]
        text, ids = unpack(states, self.widths)
        if ids is None:
            self._warn(states)
            return None
        timesteps = torch.as_tensor(timesteps).detach().flatten().expand(len(text))
        self._note(timesteps)
        self.now = self._read(text, self._rows(states, ids), [float(t) for t in timesteps])
        if len(args) > 2:
            return (*args[:2], text, *args[3:]), kwargs
        return args, {**kwargs, "encoder_hidden_states": text}

    def _warn(self, states):
        if not self._warned:
            warnings.warn(
                f"the text conditions (width {states.shape[-1]}) were not made by this pipeline with the concept "
                "attached: words that depend on layer or time act as one mean word; pass prompt=, or encode again",
                stacklevel=2,
            )
            self._warned = True

    def _note(self, timesteps):
        """Brings the progress up to date: this call comes before the timestep projection's."""
        registry = getattr(self.time_projection, "_diffusers_hook", None)
        bus = registry and registry.get_hook(Bus.name)
        if bus:
            bus.note(timesteps)

    def _rows(self, states, ids) -> list[tuple]:
        """Each row's token ids, one tuple an encoder; the pipeline passes the same tensor at each step."""
        seen, rows = self._seen
        if seen is None or seen() is not states:
            rows = list(zip(*([tuple(row) for row in part.tolist()] for part in ids)))
            self._seen = weakref.ref(states), rows
        return rows

    def _read(self, text, rows, timesteps):
        """What each block reads, (keys, values or None) [B, L, d] each, or None when no row holds a late word."""
        late = self._late_parts()
        wanted, keys = {}, []
        for row, timestep in zip(rows, timesteps):
            parts = [part for ids, find in zip(row, late) for part in find(ids)]
            key = (row, tuple(part.stage(timestep) for part in parts)) if parts else None
            keys.append(key)
            if key is not None:
                wanted.setdefault(key, (row, timestep, any(part.by_layer for part in parts)))
        if not wanted:
            return None
        found = self._encoded(wanted, text)
        return [self._layer(text, [key and found[key] for key in keys], n) for n in range(len(self.layers))]

    def _late_parts(self) -> list:
        """One function an encoder: token ids of a prompt -> its late words, and the late states of the prompt."""
        found = []
        for name in self.encoders:
            tokens = self._tokens(name)
            words = tokens.late() if tokens else {}

            def find(ids, words=words, states=self.states[name]):
                return [w for i, w in words.items() if i in ids] + [s for s in states if s.ids == ids]

            found.append(find)
        return found

    def _tokens(self, name) -> ConceptTokens | None:
        tokenizer = self.tokenizers[name]
        return ConceptTokens.of(tokenizer) if "_persona_tokens" in vars(tokenizer) else None

    def _layer(self, text, encodings, number):
        """Keys and values of all rows at one block."""

        def pick(kind):
            rows = [
                plain if e is None else e[kind][min(number, len(e[kind]) - 1)] for plain, e in zip(text, encodings)
            ]
            return torch.stack([row.to(text) for row in rows])

        split = any(e is not None and e[0] is not e[1] for e in encodings)
        return pick(0), pick(1) if split else None

    def _encoded(self, wanted, text) -> dict:
        """Key -> (keys, values), each [layers or 1, L, d]; kept from step to step unless they are learned."""
        found = {} if torch.is_grad_enabled() else {key: self.cache[key] for key in wanted if key in self.cache}
        for by_layer in (False, True):
            items = {key: item for key, item in wanted.items() if key not in found and item[2] == by_layer}
            if items:
                fresh = self.encode([i[0] for i in items.values()], [i[1] for i in items.values()], by_layer, text)
                found |= dict(zip(items, fresh))
        if not torch.is_grad_enabled():
            self.cache.update(found)
            while len(self.cache) > max(MOST_ENCODINGS, len(wanted)):
                self.cache.popitem(last=False)
        return found

    def encode(self, rows: list[tuple], timesteps: list[float], by_layer: bool, like: Tensor) -> list[tuple]:
        """Encodes each row of token ids at its timestep, for every block that reads or for all at once.

        Args:
            rows: of each text the token ids of each encoder.
            like: on whose device the texts will be read.

        Returns:
            Of each row (keys, values), each [layers or 1, L, sum of d]; one tensor twice where they are the same.
        """
        count = len(self.layers) if by_layer else 1
        layers = torch.arange(count, device=like.device).repeat(len(rows))
        times = torch.tensor(timesteps, dtype=torch.float32, device=like.device).repeat_interleave(count)
        context = Context(timesteps=times, layers=layers, count=len(self.layers))
        keys, values, split = [], [], False
        for number, (name, encoder) in enumerate(self.encoders.items()):
            ids = torch.tensor([row[number] for row in rows], device=encoder.device).repeat_interleave(count, 0)
            key, value = self._run(name, encoder, ids, context)
            keys.append(key.to(like.device))
            values.append((key if value is None else value).to(like.device))
            split |= value is not None
        keys = torch.cat(keys, dim=-1).unflatten(0, (len(rows), count))
        values = torch.cat(values, dim=-1).unflatten(0, (len(rows), count)) if split else keys
        return [(k, v if split else k) for k, v in zip(keys, values)]

    def _run(self, name, encoder, ids, context) -> tuple[Tensor, Tensor | None]:
        """Keys and values (None where they are the keys) of token ids [N, L] in one text encoder."""
        tokens = self._tokens(name)
        with self._late(), tokens.inside(context) if tokens else contextlib.nullcontext():
            output = encoder(ids, output_hidden_states=True)
            bypasses = tokens.bypasses() if tokens else {}
            keys, values = self.family.text_state(output), None
            if bypasses:
                raw = self.family.raw_text_state(output)
                for word, bypass in bypasses.items():
                    raw = torch.where((ids.to(raw.device) == word)[..., None], bypassed(raw, bypass.to(raw)), raw)
                site = next(h for h in encoder._forward_hooks.values() if isinstance(h, TextOutputSite))
                values = site.edited(self.family.finish_text(encoder, raw), ids)
        for late in self.states[name]:
            here = (ids.to(keys.device) == torch.tensor(late.ids, device=keys.device)).all(1)[:, None, None]
            keys = torch.where(here, late.at(context, keys), keys)
            values = None if values is None else torch.where(here, late.at(context, values), values)
        return keys, values

    @contextlib.contextmanager
    def _late(self):
        self.encoding = True
        try:
            yield
        finally:
            self.encoding = False


def install(host, token: Any, words: Mapping[str, Tensor | LateWord], grip: Grip):
    """Adds `token` to the host's tokenizers as long as `grip` holds.

    Args:
        words: text encoder's name -> its vectors: a tensor [n, d], or a late word.

    Raises:
        PersonaError: when the token is taken, or a tokenizer knows the word already.
    """
    for name, encoder in host.text_encoders.items():
        embeddings = getattr(encoder, "text_model", encoder).embeddings
        registry = HookRegistry.check_if_exists_or_initialize(embeddings)
        tokens = ConceptTokens.of(host.tokenizers[name])

        def release(tokens=tokens, registry=registry):
            tokens.remove(token)
            if not tokens.tables:
                registry.remove_hook(EmbeddingSite.name, recurse=False)

        tokens.add(token, words[name])
        grip.releases.append(release)
        if registry.get_hook(EmbeddingSite.name) is None:
            registry.register_hook(EmbeddingSite(tokens.rows), EmbeddingSite.name)
    if any(isinstance(word, LateWord) for word in words.values()):
        late = LateText.of(host)
        late.join(host)
        grip.releases.append(lambda: late.leave(host))
        grip.refreshes.append(late.forget)


def install_state(host, name: str, state: LateState, grip: Grip):
    """Puts `state` in the place of its prompt's in the host's text encoder `name`, as long as `grip` holds."""
    late = LateText.of(host)
    late.join(host)
    late.states[name].append(state)

    def release():
        late.states[name].remove(state)
        late.leave(host)

    grip.releases.append(release)
    grip.refreshes.append(late.forget)
