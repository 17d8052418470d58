"""A text encoder that is tuned toward pictures for each prompt, and thrown away.

Source: Gallego, Aesthetic Gradients, arXiv 2209.12330, section 2.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class TunedText:
    """The mean CLIP embedding of the references; each prompt is encoded by an encoder tuned toward it.

    It acts on every prompt but the empty one, whose encoding stays stock.

    Attributes:
        updates: steps of Adam a prompt.
        lr: their learning rate.
        clip: folder or Hub id of the CLIP that the host's text encoder belongs to; None for the one that is known
            (see `encoders.clip`).
    """

    kind: ClassVar[str] = "tuned_text"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = False

    updates: int = 5
    lr: float = 1e-4
    clip: str | None = None

    def __post_init__(self):
        if self.updates < 0 or self.lr <= 0:
            raise PersonaError(f"TunedText(updates={self.updates}, lr={self.lr}): updates >= 0, lr > 0")

    def prepare(self, host, subject: Subject) -> Learner:
        """Nothing to train: the embedding [1, e], and the map [d, e] from the end token's state to it."""
        import torch
        from torch.nn import functional as F

        from ..encoders.clip import image_features, text_projection

        clip = image_features(host, self.clip)
        with torch.no_grad():
            features = clip.images(subject.pictures.pixels(subject.resolution).to(host.device))
        mean = F.normalize(features, dim=-1).mean(0, keepdim=True)
        return Learner(parameters={}, constants={"embedding": mean, "projection": text_projection(host, clip)})

    def attach(self, host, tensors, grip: Grip):
        """Tunes a copy of the first text encoder for each prompt; a scale s takes s times the change.

        A concept that holds the embedding alone (an official file) takes the map from its CLIP.
        """
        from ..encoders.clip import image_features, text_projection
        from .text_rows import refuse_window
        from .text_sites import edit_text

        refuse_window(grip)
        embedding, projection = tensors.get("embedding"), tensors.get("projection")
        if projection is None:
            projection = text_projection(host, image_features(host, self.clip)).to(host.device)
        if embedding is None or embedding.shape[-1] != projection.shape[-1]:
            shape = "no tensor" if embedding is None else f"shape {tuple(embedding.shape)}"
            raise PersonaError(
                f"key 'embedding' has {shape}, the CLIP of this host has embeddings of {projection.shape[-1]}; "
                "attach the concept to the kind of model that it was made for"
            )
        name = next(iter(host.text_encoders))
        tuner = _Tuner(self, host, name, embedding.reshape(-1), projection)

        def edit(state, ids):
            return state if grip.strength == 0.0 else state + grip.strength * tuner.change(ids).to(state)

        edit_text(host, name, edit, grip)


class _Tuner:
    """Encodes each row of token ids with weights of its own."""

    def __init__(self, space, host, name, embedding, projection):
        self.space, self.host, self.name = space, host, name
        # Adam's first step is the gradient's sign: the same memory layout keeps a concept's pictures the same bytes
        self.embedding, self.projection = (t.float().contiguous().clone() for t in (embedding, projection))
        self.end = host.tokenizers[name].eos_token_id

    def change(self, ids):
        """What tuning changes in the text state [B, L, d] of ids [B, L]; 0 for the empty prompt."""
        import torch

        with torch.inference_mode(False), torch.no_grad():
            ids = ids.clone()
            weights, run = self._runnable()
            stock = run(weights, ids)
            changes, known = torch.zeros_like(stock[0]), {}
            for i, row in enumerate(ids.tolist()):
                if row[1] == self.end:
                    continue
                if tuple(row) not in known:
                    known[tuple(row)] = self._tuned(weights, run, ids, i) - stock[0][i]
                changes[i] = known[tuple(row)]
        return changes

    def _runnable(self):
        """The encoder's weights in float32, and (weights, ids) -> (text state, normed last state)."""
        import torch
        from torch import nn

        from .sites import CHILD

        host, encoder = self.host, self.host.text_encoders[self.name]

        class Plain(nn.Module):
            """The encoder without the edits of its output."""

            def __init__(self):
                super().__init__()
                self.encoder = encoder

            def forward(self, ids):
                output = self.encoder.forward(ids, output_hidden_states=True)
                return type(host).text_state(output), output.last_hidden_state

        plain = Plain()
        weights = {n: p.detach().float() for n, p in plain.named_parameters() if f".{CHILD}." not in f".{n}"}
        return weights, lambda values, ids: torch.func.functional_call(plain, dict(values), (ids,))

    def _tuned(self, weights, run, ids, row: int):
        """The text state [L, d] of one row after its own tuning."""
        import torch

        from ..functional.prompt_tuning import ascend_similarity
        from ..functional.token_rows import last_position

        end = int(last_position(ids[row, None], self.end))
        projection = self.projection.to(ids.device)

        def embed(values):
            return run(values, ids)[1][row, end].float() @ projection

        with torch.enable_grad():
            target = self.embedding.to(ids.device)
            tuned = ascend_similarity(embed, weights, target, updates=self.space.updates, lr=self.space.lr)
        return run(tuned, ids)[0][row]
