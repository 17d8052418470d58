"""Attachment: a concept's hold on a pipeline, and the way to let go."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from . import backbones
from .errors import PersonaError
from .spaces.base import Grip

if TYPE_CHECKING:
    from .concept import Concept


class Attachment:
    """A concept at work in a pipeline; made by `Concept.attach`.

    A context manager: leaving it detaches. The pipeline object stays the user's own.

    Attributes:
        concept, pipe: what is attached to what.
    """

    def __init__(self, concept: Concept, pipe, scale: float, window: tuple[float, float], region=None):
        self.concept, self.pipe = concept, pipe
        host = backbones.of(pipe)
        _check_base(concept, host)
        start, stop = window
        if not 0.0 <= start < stop <= 1.0:
            raise PersonaError(f"window={window}: give two parts of the denoising, 0 <= start < stop <= 1")
        grips = pipe.__dict__.setdefault("_persona_grips", [])
        twins = sum(grip.key[0] == concept.digest for grip in grips)
        self._grip = Grip(key=(concept.digest, twins), scale=float(scale), window=window, region=region)
        try:
            if (start, stop) != (0.0, 1.0):
                self._follow_progress(host)
            for i, space in enumerate(concept.spaces):
                space.attach(host, concept.tensors_of(i, device=host.device), self._grip)
        except BaseException:
            self._grip.release()
            raise
        grips.append(self._grip)

    @property
    def scale(self) -> float:
        """Strength of the concept: 0 for the stock model, 1 as learned; may be set at any time."""
        return self._grip.scale

    @scale.setter
    def scale(self, value: float):
        self._grip.scale = float(value)
        self._grip.refresh()

    def detach(self):
        """Takes the concept off; the pipeline is as it was, bit for bit. Harmless when called twice."""
        self._grip.release()
        grips = self.pipe.__dict__.get("_persona_grips", [])
        if self._grip in grips:
            grips.remove(self._grip)
            if not grips:
                del self.pipe.__dict__["_persona_grips"]

    def _follow_progress(self, host):
        from .spaces.sites import Bus

        steps = host.pipe.scheduler.config.num_train_timesteps
        bus = self._grip.bus = Bus.of(host.time_projection, steps - 1)
        bus.listen(host.time_projection, self._grip.refresh)
        self._grip.releases.append(lambda: bus.unlisten(host.time_projection, self._grip.refresh))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.detach()

    def __repr__(self):
        return f"Attachment({self.concept!r}, scale={self.scale}, window={self._grip.window})"


def _check_base(concept, host):
    base = concept.header.get("base_model") or {}
    if base.get("family") and base["family"] != host.name:
        raise PersonaError(
            f"concept {concept.token!r} was learned on a {base['family']} model and does not fit "
            f"{type(host.pipe).__name__} "
            f"({host.name}); attach it to a {base['family']} pipeline or learn it anew"
        )
    if base.get("fingerprint") and base["fingerprint"] != host.fingerprint():
        warnings.warn(
            f"concept {concept.token!r} was learned on {base.get('name') or 'another training of this architecture'}; "
            "on this model it may look different",
            stacklevel=4,
        )
