"""Output space: the concept is the last vectors of the text encoder's output.

Source: Han et al., HiPer, arXiv 2303.08767, section 3.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextOutput:
    """The last vectors of the text state, of prompts that hold the class word; other prompts stay stock.

    Attributes:
        vectors: how many.
        caption: the prompt of the references, with ``{noun}``: the vectors begin as its own.
        use: factor of the learned vectors in use.
        noun: the class word; None for the concept's own.
    """

    kind: ClassVar[str] = "text_output"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = True

    vectors: int = 5
    caption: str = "a photo of a {noun}"
    use: float = 1.0
    noun: str | None = None

    def __post_init__(self):
        if self.vectors < 1:
            raise PersonaError(f"TextOutput(vectors={self.vectors}): at least one vector is learned")

    def prepare(self, host, subject: Subject) -> Learner:
        """One parameter [vectors, d] a text encoder."""
        import torch
        from torch import nn

        from .text_rows import rerun

        learner, grip = Learner(parameters={}), Grip(key=())
        ids = host.tokenize([self.caption.format(noun=subject.noun)])
        for name, encoder in host.text_encoders.items():
            with torch.no_grad():
                initial = rerun(host, name, ids[name].to(encoder.device))[0, -self.vectors :].float()
            vectors = learner.parameters[f"{name}.embedding"] = nn.Parameter(initial.clone())
            self._install(host, name, vectors, subject.noun, grip, factor=1.0)
        return learner

    def attach(self, host, tensors, grip: Grip):
        """Exchanges the vectors; a scale s goes the way from the stock ones (0) to the learned (1)."""
        from .text_rows import learned, refuse_window, width

        refuse_window(grip)
        for name in host.text_encoders:
            vectors = learned(tensors, f"{name}.embedding", (None, width(host, name)))
            self._install(host, name, vectors, self.noun, grip, factor=self.use)

    def _install(self, host, name, vectors, noun, grip, factor):
        import torch

        from ..functional.token_rows import occurrences
        from .text_rows import word_ids
        from .text_sites import edit_text

        word, count = word_ids(host, name, noun), len(vectors)

        def edit(state, ids):
            rows = occurrences(ids, word).any(1)[:, None, None]
            tail = torch.lerp(state[:, -count:], (factor * vectors).to(state), grip.strength)
            return torch.where(rows, torch.cat([state[:, :-count], tail], dim=1), state)

        edit_text(host, name, edit, grip)
