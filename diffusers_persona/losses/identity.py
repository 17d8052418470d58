"""Losses on who is in the picture: the clean estimate is decoded and shown to a face-recognition network."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ..errors import PersonaError
from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) with cosine distances d, [B] of vectors [B, D].

    Source: Tomasevic et al., ID-Booth, arXiv 2504.07392, equation 7.
    """
    import torch.nn.functional as F

    near, far = F.cosine_similarity(anchor, positive), F.cosine_similarity(anchor, negative)
    return F.relu(far - near + margin)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """The face of the clean estimate is the person's, and not that of the class pictures.

    Rows without a face count nothing.

    Attributes:
        weight: of the loss.
        margin: of the triplet with the class picture of the same row as the negative; None for 1 - cosine alone.
        fade: power of (1 - t / T), each row's weight: noisy estimates count less; 0 for none.
        face: the network, see `encoders.face.face_features`; None for the miniature world's own.
        rows: only so many rows of a pass are decoded; None for all.
        together: only rows whose prompt holds the words of all things count, and the person is the first thing, shown
            on the pictures of it (see `inversion.images.Example.part`).
    """

    needs: ClassVar[tuple[str, ...]] = ("pixels",)

    weight: float = 1.0
    margin: float | None = 1.0
    fade: float = 2.0
    face: str | None = None
    rows: int | None = None
    together: bool = False

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar."""
        import torch

        rows = self._rows(step)
        if not rows:
            return step.prediction.sum() * 0.0
        encoder, known = self._person(step)
        clean = step.clean(step.prediction[rows].float(), step.noisy[rows].float(), step.timesteps[rows])
        seen, found = encoder(step.decode(clean))
        wanted = known[[step.pictures[row] for row in rows]].to(seen)
        if self.margin is None:
            errors = 1.0 - torch.cosine_similarity(seen, wanted)
        else:
            errors = triplet(seen, wanted, self._others(step, encoder, len(rows)), self.margin)
        progress = step.timesteps[rows] / step.world.schedule.config.num_train_timesteps
        weights = found * (1.0 - progress).pow(self.fade)
        return self.weight * (weights * errors).mean()

    def _rows(self, step: Step) -> list[int]:
        words = [part.token for part in step.subject.parts] if self.together else []
        rows = [row for row in range(step.concept_rows) if all(word in step.prompts[row] for word in words)]
        return rows[: self.rows]

    def _person(self, step: Step):
        """The face network, and the identity that each picture of the concept stands for, [pictures, D]."""
        memory = step.world.memory
        if self not in memory:
            from ..encoders.face import face_features

            encoder = face_features(step.host, self.face).to(step.prediction.device)
            examples = list(step.subject.pictures)
            known = encoder.pictures([example.image for example in examples])
            if self.together:
                shown = [i for i, example in enumerate(examples) if example.part in (None, 0)]
                known = known[shown].mean(0, keepdim=True).expand(len(examples), -1)
            memory[self] = encoder, known
        return memory[self]

    def _others(self, step: Step, encoder, count: int) -> Tensor:
        """Identities of the class pictures beside the rows, [count, D]."""
        import torch

        strangers = step.latents[step.concept_rows :][:count]
        if len(strangers) < count:
            raise PersonaError(
                "the triplet of identities needs class pictures: set prior_weight above 0, or margin to None"
            )
        with torch.no_grad():
            return encoder(step.decode(strangers))[0]
