"""Keeps the empty prompt and the start token as they were before a concept changed the text encoder's weights.

Source: Park et al., TextBoost, arXiv 2409.08248: classifier-free guidance keeps its unconditional side.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from .base import Grip, Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class StockText:
    """The stock output [L, d] of the empty prompt, as a constant: it has nothing to learn."""

    kind: ClassVar[str] = "stock_text"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = False

    def prepare(self, host, subject: Subject) -> Learner:
        """The constant of each text encoder; declare this space before those that change the encoder."""
        import torch

        from .text_rows import rerun

        learner, grip = Learner(parameters={}), Grip(key=())
        for name, ids in host.tokenize([""]).items():
            with torch.no_grad():
                null = rerun(host, name, ids.to(host.text_encoders[name].device))[0].float()
            learner.constants[f"{name}.null"] = null
            self._install(host, name, null, grip)
        return learner

    def attach(self, host, tensors, grip: Grip):
        """Puts the constants in the place of what the encoder gives, whatever the scale."""
        from .text_rows import learned, width

        for name in host.text_encoders:
            self._install(host, name, learned(tensors, f"{name}.null", (None, width(host, name))), grip)

    def _install(self, host, name, null, grip):
        import torch

        from .text_rows import empty_row
        from .text_sites import edit_text

        def edit(state, ids):
            constant = null.to(state)
            start = constant[:1].expand(len(state), -1, -1)
            edited = torch.cat([start, state[:, 1:]], dim=1)
            if ids.shape[1] != len(constant):
                return edited
            empty = torch.tensor(empty_row(host, name, len(constant)), device=ids.device)
            return torch.where((ids == empty).all(1)[:, None, None], constant, edited)

        edit_text(host, name, edit, grip)
