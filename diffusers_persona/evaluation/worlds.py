"""The world of a protocol: its subjects, a base model and the instruments that the user named.

A world is a small declaration that every process opens for itself.
"""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers_persona.errors import PersonaError

from .host import Host, expectation, toybox_fingerprints, toybox_masking
from .protocols import protocol

REWARDS = "diffusers_persona.rewards"
"""The entry point group of preference models: a name, and a callable without arguments that returns a `Reward`."""
TOYBOX = "toybox"


@dataclass(frozen=True, kw_only=True)
class World:
    """A protocol on a base model, judged by instruments.

    Attributes:
        protocol: id of a protocol, or a folder of the user's own pictures.
        data: folder with the protocol's data; not needed for a folder.
        base, device, precision: what `open_base` takes.
        open_base: (base, device=, precision=) -> a stock pipeline; a function that another process can import.
        clip, dino, segmenter: models of `TransformersInstruments`; none takes the Toybox's instruments.
        noun, kind: of all subjects of a user's own folder, in place of its `classes.txt`.
        reward: name of an entry point of the group `diffusers_persona.rewards`; empty for none.
    """

    protocol: str
    data: Path | None
    base: str
    open_base: Callable[..., Any]
    device: str = "cpu"
    precision: str = "fp32"
    clip: str | None = None
    dino: str | None = None
    segmenter: str | None = None
    noun: str | None = None
    kind: str | None = None
    reward: str = ""

    def __call__(self) -> Host:
        """The opened world."""
        from diffusers_persona import backbones

        subjects = self.subjects()
        reward = load_reward(self.reward) if self.reward else None
        pipe = self.open_base(self.base, device=self.device, precision=self.precision)
        instruments, measuring, masking = self._instruments(str(pipe.device))
        on_toybox = self.base == TOYBOX
        fingerprint = toybox_fingerprints()[0] if on_toybox else backbones.of(pipe).fingerprint()
        return Host(
            pipe=pipe,
            instruments=instruments,
            concepts=subjects,
            prompts=lambda subject: subject.prompts,
            expect=expectation,
            templates=lambda subject: None,
            class_pictures=lambda subject: None,
            base_fingerprint=fingerprint,
            instruments_fingerprint=measuring,
            masking=masking,
            reference_rows=("real-images", "base", "copy-paste"),
            paired=True,
            reward=reward,
            reward_name=self.reward,
            protocol=protocol(self.protocol).id,
        )

    def subjects(self) -> tuple[Any, ...]:
        """The subjects of the data.

        Raises:
            PersonaError: it is not there; one line with where to get it.
        """
        from dataclasses import replace

        declared = protocol(self.protocol)
        own = declared.id == "folder"
        found = declared.subjects(Path(self.protocol) if own else self.data)
        if not own and (self.noun or self.kind):
            raise PersonaError(f"--noun and --kind are for folders of your own: {declared.title} names its subjects")
        given = {name: value for name, value in (("noun", self.noun), ("kind", self.kind)) if value}
        return tuple(replace(subject, **given) for subject in found)

    def _instruments(self, device: str) -> tuple[Any, str, str]:
        """(instruments, fingerprint, fill rule of the masked metrics)."""
        if (self.clip is None) != (self.dino is None):
            raise PersonaError("--clip and --dino go together: give a model for each, or none for the Toybox's")
        if self.segmenter and not self.clip:
            raise PersonaError("--segmenter goes with --clip and --dino: the Toybox's instruments have their own")
        if self.clip and self.dino:
            from .transformers_instruments import MaskingInstruments, TransformersInstruments

            if self.segmenter:
                loaded = MaskingInstruments(self.clip, self.dino, self.segmenter, device=device)
            else:
                loaded = TransformersInstruments(self.clip, self.dino, device=device)
            return loaded, loaded.fingerprint(), loaded.masking
        from diffusers_persona.toybox import instruments

        return instruments.load(), toybox_fingerprints()[1], toybox_masking()


def load_reward(name: str) -> Any:
    """The preference model of an entry point.

    Raises:
        PersonaError: no installed package offers it.
    """
    offered = {entry.name: entry for entry in importlib.metadata.entry_points(group=REWARDS)}
    if name not in offered:
        known = f"installed: {', '.join(sorted(offered))}" if offered else "none is installed"
        raise PersonaError(f"no preference model is called {name!r} ({known}): see the entry point group {REWARDS}")
    return offered[name].load()()
