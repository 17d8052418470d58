"""What an inversion space must offer, and the one kind of container for learned tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..backbones import Backbone
    from .sites import Bus


NEGATIVE = "neg"
"""Name of the word that a concept brings for the negative prompt."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One of several things that are learned from the same pictures: its word and its class word."""

    token: str
    noun: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """The concept as a space sees it before learning.

    Attributes:
        token: the word that will stand for the concept, e.g. ``"<toy>"`` or ``"sks"``; of several things all words.
        noun: the class word, e.g. ``"dog"``; of several things ``"cup and toy"``.
        seed: seed of every random initial value.
        parts: the things that are learned from the same pictures; one for an ordinary concept.
        pictures: the concept's pictures (an `inversion.images.ImageSet`), for spaces that begin with them.
        resolution: side of the pictures in learning, in pixels.
    """

    token: str
    noun: str
    seed: int = 0
    parts: tuple[Part, ...] = ()
    pictures: Any = None
    resolution: int = 512

    def word(self, space) -> str:
        """The word that `space`, one that adds a word, stands for."""
        part, name = getattr(space, "part", None), getattr(space, "name", "")
        return named(self.token.replace("> <", "+") if part is None else self.parts[part].token, name)

    def class_word(self, space) -> str:
        """The class word of what `space` stands for."""
        part = getattr(space, "part", None)
        return self.noun if part is None else self.parts[part].noun


def named(token: str, name: str) -> str:
    """The further word called `name` beside `token`: ``"<toy>"``, ``"neg"`` -> ``"<toy-neg>"``."""
    if not name:
        return token
    return f"{token[:-1]}-{name}>" if token.endswith(">") else f"{token}-{name}"


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
        name: the space's own name where a recipe has several of its kind, for its learning rate.
        constants: further tensors that belong into the concept file (an initial embedding, ...).
        constrain: called after each optimiser step in which the space learns (clamps, projections), or None.
        follow: called with (batch, timesteps) before the texts of a forward pass are encoded, or None.
        export: gives the concept's tensors where they are not the parameters themselves, or None.
        enter: called before each step with the number of the phase that the step is in, or None.
        state: tensors that change in learning without a gradient, in place; checkpoints keep them.
        penalty: a regulariser of the space's own, a scalar, for the loss `OwnPenalty`; or None.
    """

    parameters: dict[str, nn.Parameter]
    name: str = ""
    constants: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    constrain: Callable[[], None] | None = None
    follow: Callable[[Any, Tensor], None] | None = None
    export: Callable[[], dict[str, Tensor]] | None = None
    enter: Callable[[int], None] | None = None
    penalty: Callable[[], Tensor] | None = None
    state: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """The concept's tensors in this space: detached copies on the CPU."""
        found = self.parameters if self.export is None else self.export()
        return {name: p.detach().cpu().clone() for name, p in {**found, **self.constants}.items()}


@dataclasses.dataclass(kw_only=True)
class Grip:
    """One concept's hold on a host: the strength, the window, and how to let go.

    Attributes:
        key: sorts the edits of several concepts, so that the order of attaching never matters.
        region: the part of the picture that a regional space acts in, or None for all of it.
        bus: the host's shared run-time state; needed only for a window.
        releases: called last in, first out when the concept is detached.
    """

    key: tuple
    scale: float = 1.0
    window: tuple[float, float] = (0.0, 1.0)
    region: Any = None
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
