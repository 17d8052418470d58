"""Where concepts touch what a text encoder gives: one site an encoder, shared by all concepts."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..functional.packing import pack
from .base import Grip
from .sites import Hook


class TextOutputSite(Hook):
    """Edits the text state that the host's denoiser reads (SD: the last hidden state, SDXL: the penultimate one).

    Use it from a space, in `prepare` (with ``Grip(key=())``) and in `attach`::

        from .text_sites import edit_text

        def edit(state, ids):  # [B, L, d], [B, L] -> [B, L, d]; grip.strength is the scale now
            return torch.where((ids == word)[..., None], state + grip.strength * delta, state)

        edit_text(host, "text_encoder", edit, grip)

    Edits run in the order of their grips' keys and must not change `state` in place. The pooled vector stays stock.
    The ids of a concept's word are ``ConceptTokens.of(host.tokenizers[name]).ids(word)``.

    A forward hook on the encoder itself: offloading, which exchanges an encoder's `forward` after each picture, would
    lose a hook of any other kind there.
    """

    def __init__(self, family):
        self.family = family
        self.edits: list[tuple[tuple, Callable[[Tensor, Tensor], Tensor]]] = []
        self.late: Any = None
        self.handle: Any = None

    @classmethod
    def of(cls, host, name: str) -> TextOutputSite:
        """The site of the host's text encoder `name`, made on first use."""
        encoder = host.text_encoders[name]
        for hook in encoder._forward_hooks.values():
            if isinstance(hook, cls):
                return hook
        site = cls(type(host))
        site.handle = encoder.register_forward_hook(site, with_kwargs=True)
        return site

    def __call__(self, encoder, args, kwargs, output):
        """The output with the edited state; with the prompt's ids packed beside it while late text is in use."""
        state = self.family.text_state(output)
        if state is None or not (self.edits or self.late):
            return output
        ids = args[0] if args else kwargs["input_ids"]
        state = self.edited(state, ids)
        if self.late is not None and not self.late.encoding:
            self.late.forget()
            state = pack(state, ids)
        return self.family.with_text_state(output, state)

    def edited(self, state: Tensor, ids: Tensor) -> Tensor:
        """The state [B, L, d] of the token ids [B, L] after all edits."""
        ids = ids.to(state.device)
        for _, edit in self.edits:
            state = edit(state, ids)
        return state

    def add(self, key: tuple, edit: Callable[[Tensor, Tensor], Tensor]):
        """Adds an edit; those of one key run in the order of adding."""
        bisect.insort_right(self.edits, (key, edit), key=lambda entry: entry[0])

    def remove(self, edit: Callable[[Tensor, Tensor], Tensor]):
        """Removes an edit."""
        self.edits = [entry for entry in self.edits if entry[1] is not edit]
        self.leave()

    def leave(self):
        """Takes the site off when nothing uses it."""
        if not self.edits and self.late is None:
            self.handle.remove()


def edit_text(host, name: str, edit: Callable[[Tensor, Tensor], Tensor], grip: Grip):
    """Edits the text state of the host's encoder `name` as long as `grip` holds; see `TextOutputSite`.

    Args:
        edit: (state [B, L, d], token ids [B, L]) -> state.
    """
    site = TextOutputSite.of(host, name)
    site.add(grip.key, edit)
    grip.releases.append(lambda: site.remove(edit))
