"""Losses on cross-attention maps: what each word of the concept looks at."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from typing import TYPE_CHECKING, ClassVar

from ..errors import PersonaError
from .masked import things
from .places import places, word_map
from .step import Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionInMasks:
    """Each word looks at its own thing: sum over the prompt's things of the mean of (mask - A / max A)^2.

    Source: Avrahami et al., Break-A-Scene, arXiv 2305.16311, cross-attention loss. A is the mean over heads and the
    layers with the second smallest maps. Without masks there is nothing to look at: the loss is 0, and a warning says
    so once.
    """

    needs: ClassVar[tuple[str, ...]] = ("attention",)

    weight: float = 0.01

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar: the mean over the concept's rows."""
        import torch.nn.functional as F

        from ..functional.attention_maps import by_maximum

        masks, total = things(step), step.prediction.new_zeros(())
        if masks is None:
            if step.world.memory.setdefault("unguided", True):
                reason = "the pictures have no masks: attention is not guided; give masks=, one for each thing"
                warnings.warn(reason, stacklevel=2)
                step.world.memory["unguided"] = False
            return total
        maps = step.attention.mean()[: step.concept_rows].float()
        masks = F.interpolate(masks, maps.shape[1:3])
        for row in range(step.concept_rows):
            for number, part in enumerate(step.subject.parts):
                if places(step, row, part.token):
                    found = by_maximum(word_map(step, maps[row], row, part.token))
                    total = total + F.mse_loss(found, masks[row, number])
        return self.weight * total / step.concept_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionCalibration:
    """Each new word looks where its class word looks, and the class words look at different places.

    Maps of the second smallest size are stretched to [0, 1] and smoothed; those of class words are then raised to
    `power`. The loss is sum_i (1 - IoU(stopgrad class_i, new_i)) + mean over pairs IoU(class_i, class_j).

    Source: Zhang et al., DisenDiff, arXiv 2403.18551, attention calibration.

    Attributes:
        size, deviation: of the Gaussian in pixels of the map.
        power: 2 for the paper's self-filter, 4 for two of them, 1 for none.
        separate: whether class words are driven apart.
    """

    needs: ClassVar[tuple[str, ...]] = ("attention",)

    weight: float = 0.01
    size: int = 3
    deviation: float = 0.5
    power: float = 2.0
    separate: bool = True

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar: the mean over the concept's rows."""
        from ..functional.attention_maps import soft_iou

        maps = step.attention.mean()[: step.concept_rows].float()
        total = step.prediction.new_zeros(())
        for row in range(step.concept_rows):
            new = [self._map(step, maps[row], row, part.token) for part in step.subject.parts]
            classes = [self._map(step, maps[row], row, part.noun) ** self.power for part in step.subject.parts]
            total = total + sum(1.0 - soft_iou(c.detach(), n) for c, n in zip(classes, new))
            pairs = [soft_iou(a, b) for a, b in itertools.combinations(classes, 2)]
            if self.separate and pairs:
                total = total + sum(pairs) / len(pairs)
        return self.weight * total / step.concept_rows

    def _map(self, step, maps, row, word):
        from ..functional.attention_maps import between_extremes, smoothed

        return smoothed(between_extremes(word_map(step, maps, row, word)), self.size, self.deviation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceAttention:
    """The reference attends to the concept's word where it attends to the end of the text, which sees the whole thing.

    Sum over the layers that look at the reference of the mean of (A_word / max - stopgrad(A_end / max))^2.

    Source: Hao et al., ViCo, arXiv 2306.00971, attention regularisation. For recipes with `spaces.ImageAttention`.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    weight: float = 5e-4

    def __call__(self, step: Step) -> Tensor:
        """The weighted loss, a scalar.

        Raises:
            PersonaError: when the recipe has no image attention.
        """
        from ..attention.image_cross import ImageCrossSite
        from ..functional.attention_maps import by_maximum

        if "image_attention" not in step.learners:
            raise PersonaError("ReferenceAttention is a loss on spaces.ImageAttention, which this recipe lacks")
        total = step.prediction.new_zeros(())
        for _, sight in ImageCrossSite.of(step.host.denoiser).sights:
            for word, end in sight.words.values():
                word, end = (by_maximum(maps.float()[:, None]) for maps in (word, end.detach()))
                total = total + (word - end).pow(2).mean()
        return self.weight * total
