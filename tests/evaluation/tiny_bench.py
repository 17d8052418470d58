"""A tiny world to run ToyBench in: real classes with random weights, two concepts, three prompts.

A module of its own, since worker processes open the world by importing `tiny_host`.
"""

import functools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch

from diffusers_persona.evaluation.host import Host, toybox_expectation
from diffusers_persona.testing import tiny_pictures, tiny_pipeline, tokenizer
from diffusers_persona.toybox import instruments
from diffusers_persona.toybox.instruments.clip import new_clip
from diffusers_persona.toybox.instruments.metric import new_dino
from diffusers_persona.toybox.instruments.networks import AttributeNetwork, FaceNetwork
from diffusers_persona.toybox.instruments.segmenter import new_segmenter

TRUNK = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
HEADS = {
    "noun": ["car", "cat", "poodle"],
    "background": ["beach", "red"],
    "style": ["none", "sketch"],
    "person": ["none", "Anna Smith"],
    "attribute": ["smiling", "glasses"],
}


@dataclass(frozen=True)
class TinyConcept:
    name: str
    kind: str
    noun: str
    folder: Path
    references: list[Path] = field(default_factory=list)
    training_backgrounds: tuple[str, ...] = ()

    @property
    def true_name(self) -> str:
        return self.name


@dataclass(frozen=True)
class TinyPrompt:
    template: str
    background: str | None = None
    style: str | None = None
    noun: str | None = None
    second_noun: str | None = None
    attribute: str | None = None


PROMPTS = [
    TinyPrompt("a {} on the beach", background="beach"),
    TinyPrompt("a sketch of a {}", style="sketch"),
    TinyPrompt("a {} and a car", second_noun="car"),
]


@functools.cache
def temporary_folder() -> tempfile.TemporaryDirectory:
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="tiny-bench-")


@functools.cache
def tiny_host() -> Host:
    """The world; the same in every process."""
    folder = Path(temporary_folder().name)
    toy = make_concept(folder, "poodle", "object", "dog", 0)
    person = make_concept(folder, "Anna Smith", "person", "person", 1)
    return Host(
        pipe=tiny_pipeline("sd"),
        instruments=tiny_instruments(folder / "instruments"),
        concepts=(toy, person),
        prompts=lambda kind: PROMPTS,
        expect=toybox_expectation,
        templates=lambda concept: None,
        class_pictures=lambda concept: None,
        base_fingerprint="tiny",
        instruments_fingerprint="tiny",
        style_centre=lambda: None,
        masking="the background is filled with gray",
    )


def make_concept(folder: Path, name: str, kind: str, noun: str, seed: int) -> TinyConcept:
    """A concept with three references and a real rendering of each prompt."""
    home = folder / name
    (home / "oracle").mkdir(parents=True)
    for i, picture in enumerate(tiny_pictures(3, seed=seed)):
        picture.save(home / f"{i:02d}.png")
    for i, picture in enumerate(tiny_pictures(len(PROMPTS), seed=seed + 10)):
        picture.save(home / "oracle" / f"{i:02d}.png")
    return TinyConcept(name, kind, noun, home, sorted(home.glob("*.png")))


def tiny_instruments(folder: Path) -> instruments.Instruments:
    """The Toybox's own instruments, untrained, with a classifier and a face network that are small."""
    words = tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AttributeNetwork({"trunk": TRUNK, "map_side": 8, "heads": HEADS}).save_pretrained(folder / "attributes")
        FaceNetwork({"trunk": TRUNK, "map_side": 7}).save_pretrained(folder / "face")
        clip, dino, segmenter = new_clip(words), new_dino(), new_segmenter()
    clip.save_pretrained(folder / "clip")
    words.save_pretrained(folder / "clip")
    dino.save_pretrained(folder / "dino")
    segmenter.save_pretrained(folder / "segmenter")
    return instruments.load(folder)
