"""Layer space: the concept is further keys and values in the last self-attention layers of the text encoder.

Source: Zhao et al., CatVersion, arXiv 2311.14631, section 3.2.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextPrefix:
    """Keys and values in front of those of the text, for prompts that hold the class word; others stay stock.

    Attributes:
        layers: how many of the last layers have them (all, where the encoder has no more).
        length: further keys, and as many values, a layer.
        bias: added to their logits.
        deviation: of their first values.
        noun: the class word; None for the concept's own.
    """

    kind: ClassVar[str] = "text_prefix"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = True

    layers: int = 3
    length: int = 1
    bias: float = 0.0
    deviation: float = 1.0
    noun: str | None = None

    def __post_init__(self):
        if self.layers < 1 or self.length < 1:
            raise PersonaError(f"TextPrefix(layers={self.layers}, length={self.length}): both are at least 1")

    def prepare(self, host, subject: Subject) -> Learner:
        """One parameter [layers, 2, length, d] a text encoder, drawn from a normal variable."""
        import torch
        from torch import nn

        from .text_rows import width

        learner, grip = Learner(parameters={}), Grip(key=())
        random = torch.Generator().manual_seed(subject.seed)
        for name in host.text_encoders:
            layers = min(self.layers, len(_layers(host, name)))
            prefix = self.deviation * torch.randn(layers, 2, self.length, width(host, name), generator=random)
            learner.parameters[f"{name}.prefix"] = nn.Parameter(prefix.to(host.device))
            self._install(host, name, learner.parameters[f"{name}.prefix"], subject.noun, grip)
        return learner

    def attach(self, host, tensors, grip: Grip):
        """Adds what the prefix changes; a scale s goes the way from the stock text (0) to the learned one (1)."""
        from .text_rows import learned, refuse_window, width

        refuse_window(grip)
        for name in host.text_encoders:
            prefix = learned(tensors, f"{name}.prefix", (None, 2, None, width(host, name)))
            present = len(_layers(host, name))
            if len(prefix) > present:
                raise PersonaError(
                    f"key '{name}.prefix' is for {len(prefix)} layers, the text encoder has {present}; "
                    "attach the concept to the kind of model that it was learned on"
                )
            self._install(host, name, prefix, self.noun, grip)

    def _install(self, host, name, prefix, noun, grip):
        import torch

        from ..functional.token_rows import occurrences
        from .text_rows import rerun, word_ids
        from .text_sites import edit_text

        word = word_ids(host, name, noun)

        def edit(state, ids):
            rows = occurrences(ids, word).any(1)
            if grip.strength == 0.0 or not rows.any():
                return state
            with torch.no_grad():
                stock = rerun(host, name, ids)
            with self._prefixed(_layers(host, name), prefix):
                change = rerun(host, name, ids) - stock
            return state + grip.strength * rows[:, None, None] * change

        edit_text(host, name, edit, grip)

    @contextlib.contextmanager
    def _prefixed(self, layers, prefix):
        """The last layers' self-attention sees the prefix."""
        chosen = [layer.self_attn for layer in layers[-len(prefix) :]]
        handles = [
            attention.register_forward_hook(_Prefixed(own, self.bias), with_kwargs=True)
            for attention, own in zip(chosen, prefix)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Prefixed:
    """Computes a CLIP self-attention layer once more, with the prefix."""

    def __init__(self, prefix, bias: float):
        self.prefix, self.bias = prefix, bias

    def __call__(self, layer, args, kwargs, output):
        from ..functional.prefix_attention import prefix_attention

        states = args[0] if args else kwargs["hidden_states"]
        query, key, value = (
            project(states).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
            for project in (layer.q_proj, layer.k_proj, layer.v_proj)
        )
        mixed = prefix_attention(query, key, value, self.prefix, self.bias, layer.scale)
        return layer.out_proj(mixed.transpose(1, 2).flatten(2)), *output[1:]


def _layers(host, name):
    encoder = host.text_encoders[name]
    return getattr(encoder, "text_model", encoder).encoder.layers
