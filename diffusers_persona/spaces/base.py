"""What an inversion space must offer, and the one kind of container for learned tensors."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..backbones import Backbone
    from .sites import Bus


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """The concept as a space sees it before learning.

    Attributes:
        token: the word that will stand for the concept, e.g. ``"<toy>"`` or ``"sks"``.
        noun: the class word, e.g. ``"dog"``.
        seed: seed of every random initial value.
    """

    token: str
    noun: str
    seed: int = 0


class Space(Protocol):
    """An inversion space: a frozen declaration with the two halves of its mechanism.

    ``kind`` names the space in headers and listings; ``adds_token`` tells whether it brings a new word to the
    tokenizer; ``trains_text`` whether prompts must be encoded anew at each step.
    """

    kind: ClassVar[str]
    adds_token: ClassVar[bool]

    @property
    def trains_text(self) -> bool: ...

    def prepare(self, host: Backbone, subject: Subject) -> Learner:
        """Makes `host` (a private clone) learn in this space."""
        ...

    def attach(self, host: Backbone, tensors: dict[str, Tensor], grip: Grip) -> None:
        """Puts learned `tensors` on the user's `host`; every change is undone through `grip`."""
        ...


@dataclasses.dataclass(kw_only=True)
class Learner:
    """What one space trains.

    Attributes:
        parameters: name in the concept file -> trainable parameter.
        constants: further tensors that belong into the concept file (an initial embedding, ...).
    """

    parameters: dict[str, nn.Parameter]
    constants: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """The concept's tensors in this space: detached copies on the CPU."""
        return {name: p.detach().cpu().clone() for name, p in {**self.parameters, **self.constants}.items()}


@dataclasses.dataclass(kw_only=True)
class Grip:
    """One concept's hold on a host: the strength, the window, and how to let go.

    Attributes:
        key: sorts the edits of several concepts, so that the order of attaching never matters.
        bus: the host's shared run-time state; needed only for a window.
        releases: called last in, first out when the concept is detached.
    """

    key: tuple
    scale: float = 1.0
    window: tuple[float, float] = (0.0, 1.0)
    bus: Bus | None = None
    releases: list = dataclasses.field(default_factory=list)
    refreshes: list = dataclasses.field(default_factory=list)

    @property
    def strength(self) -> float:
        """The scale now: 0 outside the window of denoising progress."""
        if self.bus is None:
            return self.scale
        start, stop = self.window
        return self.scale if start <= self.bus.progress < stop else 0.0

    def refresh(self):
        """Brings every edit up to the present strength."""
        for refresh in self.refreshes:
            refresh()

    def release(self):
        """Takes every change back, last in, first out."""
        while self.releases:
            self.releases.pop()()
        self.refreshes.clear()
