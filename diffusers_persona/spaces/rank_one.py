"""Rank-one space: keys and values of the cross-attention are edited for the one text encoding i* of the concept.

What the concept's word means is a learned output o* of every value projection; the keys' o* is that of the class word
("key locking"), so that the concept's place in the picture is found as the class's is. A gate opens for encodings
that are like i*. Source: Tewel et al., Perfusion, arXiv 2305.01644, section 4.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from . import adapters
from .base import Grip, Learner, Subject

INPUT, DIRECTION, OUTPUT = "input", "direction", "output"
PROMPT = "a photo of a {}"
CAPTIONS = (
    "a photo of a {} and a {}",
    "a painting of a {} with a {}",
    "a {} next to a {}",
    "the {} of a {}",
    "a close-up of the {} in the {}",
    "two {} on the {}",
)
"""Ordinary text: with any words of the host's vocabulary in the places, it shows which encodings are usual."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankOne:
    """A gated rank-one edit of all key and value projections of the cross-attention.

    Attributes:
        bias, temperature: beta and tau of the gate in learning.
        bias_in_use, temperature_in_use: the same once learned; a lower bias opens the gate for more encodings.
        decay: p of the moving average of the word's encodings that becomes i*, in [0, 1).
        captions: number of ordinary prompts, from which C, the second moment of text encodings, is computed.
    """

    kind: ClassVar[str] = "rank_one"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = False

    bias: float = 0.75
    temperature: float = 0.1
    bias_in_use: float = 0.75
    temperature_in_use: float = 0.1
    decay: float = 0.99
    captions: int = 512

    def __post_init__(self):
        if self.temperature <= 0 or self.temperature_in_use <= 0 or not 0 <= self.decay < 1:
            raise PersonaError(
                f"RankOne(temperature={self.temperature}, temperature_in_use={self.temperature_in_use}, "
                f"decay={self.decay}): temperatures are above 0, the decay is in [0, 1)"
            )

    def prepare(self, host, subject: Subject) -> Learner:
        """Value outputs o* [out] to learn, key outputs o* [out] that stay, i* and C^-1 i* [d] that follow the word."""
        import torch
        from torch import nn

        from ..functional.rank_one import inverse_moment
        from .gates import Edit, edit_attention

        with torch.no_grad():
            inverse = inverse_moment(self._ordinary(host))
            start = _encoding(host, subject.noun)
            followed = {INPUT: start.clone(), DIRECTION: inverse @ start}
        learner = Learner(parameters={}, constants=dict(followed), state=followed)
        learner.follow = _follow(host, subject.token, followed, inverse, self.decay)
        for layer in host.attention_layers("cross"):
            path, attention = f"{host.denoiser_name}.{layer}", host.denoiser.get_submodule(layer)
            key, value = (
                (projection.weight.detach().float() @ start).to(start.device)
                for projection in (attention.to_k, attention.to_v)
            )
            value = nn.Parameter(value)
            learner.constants[f"{path}.to_k.{OUTPUT}"] = key
            learner.parameters[f"{path}.to_v.{OUTPUT}"] = value
            edit = Edit(
                strength=lambda: 1.0,
                target=followed[INPUT],
                direction=followed[DIRECTION],
                outputs={"to_k": key, "to_v": value},
                bias=self.bias,
                temperature=self.temperature,
            )
            edit_attention(attention, (), edit)
        return learner

    def _ordinary(self, host):
        """Text encodings [n, d] of the words of ordinary prompts, without the start token and the padding."""
        import torch

        tokenizer = host.tokenizers[host.encoder_names[0]]
        words = sorted(
            word.removesuffix("</w>")
            for word in tokenizer.get_vocab()
            if word.endswith("</w>") and len(word) >= 7 and word.removesuffix("</w>").isalpha() and word.isascii()
        )
        if not words:
            raise PersonaError("the tokenizer has no whole words, from which ordinary text could be made")
        random, rows = torch.Generator().manual_seed(0), []
        for first in range(0, self.captions, 64):
            picks = torch.randint(len(words), (min(64, self.captions - first), 2), generator=random).tolist()
            prompts = [CAPTIONS[i % len(CAPTIONS)].format(words[a], words[b]) for i, (a, b) in enumerate(picks)]
            states = host.encode_text(host.tokenize(prompts))["encoder_hidden_states"].float()
            lengths = [len(tokenizer(prompt, truncation=True)["input_ids"]) for prompt in prompts]
            rows += [state[1:length] for state, length in zip(states, lengths)]
        return torch.cat(rows)

    def attach(self, host, tensors, grip: Grip):
        """Puts gated edits on the keys and values; concepts on one host share them, whatever their order."""
        from .gates import Edit, edit_attention

        edited = {k: tensors[k] for k in tensors if k not in (INPUT, DIRECTION)}
        if len(tensors) - len(edited) != 2:
            raise PersonaError(f"a rank-one edit needs the keys {INPUT!r} and {DIRECTION!r}; the file is incomplete")
        by_layer: dict[str, dict] = {}
        for path, parts in adapters.group(edited, (OUTPUT,), ((OUTPUT,),)).items():
            layer, _, projection = path.rpartition(".")
            by_layer.setdefault(layer, {})[projection] = parts[OUTPUT]
        for layer, outputs in by_layer.items():
            component, _, inner = layer.partition(".")
            attention, _ = host.locate(host.component(component), inner, layer)
            _check(layer, attention, outputs, tensors[INPUT], tensors[DIRECTION])
            edit = Edit(
                strength=lambda: grip.strength,
                target=tensors[INPUT],
                direction=tensors[DIRECTION],
                outputs=outputs,
                bias=self.bias_in_use,
                temperature=self.temperature_in_use,
            )
            grip.releases.append(edit_attention(attention, grip.key, edit))


def _encoding(host, word):
    """The text encoding [d] at the last token of `word` in a plain prompt."""
    from .tokens import positions

    prompt = PROMPT.format(word)
    place = positions(host.tokenizers[host.encoder_names[0]], prompt, word)[-1]
    return host.encode_text(host.tokenize([prompt]))["encoder_hidden_states"][0, place].float()


def _follow(host, token, followed, inverse, decay):
    """The hook of a learner that lets i* follow the encodings with which the denoiser is called."""
    import torch

    from .tokens import positions

    tokenizer, known, waiting = host.tokenizers[host.encoder_names[0]], {}, []

    def note(batch, timesteps):
        for prompt in batch.prompts:
            if prompt not in known:
                known[prompt] = positions(tokenizer, prompt, token)[-1:]
        waiting[:] = [(row, place) for row, prompt in enumerate(batch.prompts) for place in known[prompt]]

    @torch.no_grad()
    def observe(module, arguments, keywords):
        if waiting:
            rows, places = zip(*waiting)
            waiting.clear()
            states = keywords["encoder_hidden_states"].detach()[list(rows), list(places)].float().mean(0)
            for name, value in ((INPUT, states), (DIRECTION, inverse @ states)):
                followed[name].lerp_(value, 1.0 - decay)

    host.denoiser.register_forward_pre_hook(observe, with_kwargs=True)
    return note


def _check(layer, attention, outputs, target, direction):
    width = attention.to_k.in_features
    for projection, output in outputs.items():
        rows = attention.to_k.out_features if projection in ("to_k", "to_v") else None
        if target.shape != (width,) or direction.shape != (width,) or output.shape[-1] != rows or output.ndim > 2:
            raise PersonaError(
                f"layer {layer}.{projection}: the concept edits {tuple(target.shape)} -> {tuple(output.shape)}, the "
                f"model's is ({width},) -> ({rows},); attach it to the kind of model that it was learned on"
            )


def with_gate(concept, *, bias: float | None = None, temperature: float | None = None):
    """The same concept with other numbers of its gate in use: more of the concept, or more of the prompt.

    Nothing is learned anew. A lower bias, or a higher temperature, opens the gate for more of the text.

    Args:
        concept: a concept with a rank-one space.
        bias, temperature: beta and tau in use; None leaves what there is. The paper's range: 0.6 to 0.75, 0.1 to 0.15.

    Raises:
        PersonaError: when the concept has no rank-one space, or the temperature is not above 0.
    """
    wishes = {"bias_in_use": bias, "temperature_in_use": temperature}
    wishes = {name: value for name, value in wishes.items() if value is not None}
    if not any(space.kind == RankOne.kind for space in concept.spaces):
        raise PersonaError(f"concept {concept.phrase!r} has no gate; learn it with such a recipe (perfusion)")
    spaces = [dict(entry, **(wishes if entry["kind"] == RankOne.kind else {})) for entry in concept.header["spaces"]]
    header = dict(concept.header, spaces=spaces)
    return type(concept)(header=header, tensors=concept.tensors, previews=concept.previews, scores=concept.scores)
