"""Output space: the concept is a residual on the text encoder's output where the class word stands.

Source: Liu et al., Cones 2, arXiv 2305.19327, section 3.1 (the residual) and 3.3 (layout).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from .base import Grip, Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextResidual:
    """A residual at each token of the class word.

    It is found by fine-tuning a copy of the text encoder: the mean over `templates` of what that changes where the
    word stands. Attached with a region, the word also attends to that part of the picture alone.

    Attributes:
        templates: prompts with ``{phrase}``, of the mean.
        guidance, active, inactive: numbers of the layout guidance: its strength, and the weights of the word inside
            and outside its region.
        noun: the class word; None for the concept's own.
    """

    kind: ClassVar[str] = "text_residual"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    templates: tuple[str, ...] = ("a photo of a {phrase}",)
    guidance: float = 0.08
    active: float = 2.5
    inactive: float = -1e8
    noun: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "templates", tuple(self.templates))

    def prepare(self, host, subject: Subject) -> Learner:
        """Trainable copies of the text encoders' weights; the concept's tensors are residuals [n, d]."""
        import torch
        from torch import nn

        learner = Learner(parameters={})
        prompts = [template.format(phrase=subject.noun) for template in self.templates]
        before = self._means(host, prompts, subject.noun)
        for name, encoder in host.text_encoders.items():
            for path, weight in list(encoder.named_parameters()):
                if "token_embedding" not in path:
                    inner, _, key = path.rpartition(".")
                    copy = nn.Parameter(weight.detach().float().clone())
                    encoder.get_submodule(inner)._parameters[key] = learner.parameters[f"{name}.{path}"] = copy

        def export():
            with torch.no_grad():
                after = self._means(host, prompts, subject.noun)
            return {f"{name}.residual": after[name] - before[name] for name in after}

        learner.export = export
        return learner

    def _means(self, host, prompts, noun) -> dict:
        """Text encoder -> mean state [n, d] of the word's tokens, over the prompts."""
        import torch

        from ..functional.token_rows import occurrences
        from .text_rows import rerun, word_ids

        means = {}
        for name, ids in host.tokenize(prompts).items():
            word = word_ids(host, name, noun)
            with torch.no_grad():
                state = rerun(host, name, ids.to(host.text_encoders[name].device)).float()
            rows, starts = occurrences(ids, word).nonzero(as_tuple=True)
            places = starts[:, None] + torch.arange(len(word))
            means[name] = state[rows[:, None].to(state.device), places.to(state.device)].mean(0)
        return means

    def attach(self, host, tensors, grip: Grip):
        """Adds the residual; with a region, guides the word's attention, too."""
        from .text_rows import learned, refuse_window, width, word_ids

        refuse_window(grip)
        for name in host.text_encoders:
            word = word_ids(host, name, self.noun)
            residual = learned(tensors, f"{name}.residual", (len(word), width(host, name)))
            region = None if grip.region is None else self._region(host, grip)
            self._install(host, name, word, residual, grip, region)

    def _region(self, host, grip):
        from ..attention.layout import Region, guide

        region = Region(
            place=grip.region, strength=self.guidance, active=self.active, inactive=self.inactive, grip=grip
        )
        guide(host, region, grip)
        return region

    def _install(self, host, name, word, residual, grip, region):
        import torch

        from ..functional.token_rows import occurrences
        from .text_sites import edit_text

        def edit(state, ids):
            starts, total, words = occurrences(ids, word), torch.zeros_like(state), None
            for k, vector in enumerate(residual.to(state)):
                here = starts.roll(k, dims=1)
                total = total + here[..., None] * vector
                words = here if words is None else words | here
            edited = state + grip.strength * total
            if region is not None:
                region.note(edited[words])
            return edited

        edit_text(host, name, edit, grip)
