"""How right the instruments are on rendered pictures that they never saw: the numbers of `instruments.json`."""

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..vocabulary import HELD_OUT_NOUNS, HELD_OUT_PEOPLE, HELD_OUT_STYLES, NOUNS
from . import Instruments
from .attributes import COLOURLESS_STYLES, targets
from .pictures import PictureSet, draw_instance, draw_sample, render_set

SEED = 20_000
SAMPLES, INSTANCES, FACES = 3000, 1000, 400
REQUIRED = {
    "noun": 0.90,
    "background": 0.97,
    "colour": 0.92,
    "style": 0.95,
    "style_held_out": 0.95,
    "person": 0.95,
    "dino_foreground_auc": 0.98,
}
"""Least value of each bar for the instruments to be believed."""


def measure(instruments: Instruments, art: Path, work: Path, *, workers: int = 2) -> dict[str, float]:
    """All bars, on fresh renderings of unseen seeds (kept in `work`): shares in [0, 1] and areas under ROC curves."""
    render = partial(render_set, art=art, workers=workers)
    samples = render(work / "test-samples", draw_sample, SAMPLES, seed=SEED)
    instances = render(work / "test-instances", partial(draw_instance, held_out=True), INSTANCES, seed=SEED + 1)
    seen = render(work / "test-instances-seen", draw_instance, INSTANCES, seed=SEED + 2)
    faces = render(work / "test-faces", partial(draw_portrait_of_held_out), FACES, seed=SEED + 3)
    bars = attribute_bars(instruments, samples) | segmenter_bars(instruments, samples)
    bars |= concept_bars(instruments, instances) | face_bars(instruments, faces) | clip_bars(instruments, samples)
    bars["segmenter_iou_icons"] = _iou(instruments, seen)
    return {name: round(float(value), 4) for name, value in bars.items()}


def draw_portrait_of_held_out(world, rng, index):
    """A whole portrait of a held-out person in any look: what the face instrument gets from a pipeline."""
    return draw_instance(world, rng, len(HELD_OUT_NOUNS) + index % len(HELD_OUT_PEOPLE), held_out=True)


def attribute_bars(instruments: Instruments, samples: PictureSet) -> dict[str, float]:
    """Share of right answers by head, and of subsets that count for themselves."""
    answers = [targets(label) for label in samples.labels]
    scores = instruments.attributes(_pictures(samples))
    best = {head: [names[i] for i in table.argmax(1).tolist()] for head, (names, table) in scores.items()}
    bars = {
        head: _share(best[head], [answer[head] for answer in answers])
        for head in ("background", "colour", "style", "hair", "relation", "first")
    }
    bars |= _noun_bars(scores["noun"], best["noun"], answers)
    held_out = [label["style"] if label["style"] in HELD_OUT_STYLES else None for label in samples.labels]
    bars["style_held_out"] = _share(best["style"], held_out)
    names, table = scores["person"]
    named = [names[i + 1] for i in table[:, 1:].argmax(1).tolist()]
    outlines = [label["style"] in COLOURLESS_STYLES for label in samples.labels]
    for bar, wanted in (("person", False), ("person_outlines_only", True)):
        people = [label["person"] if style == wanted else None for label, style in zip(samples.labels, outlines)]
        bars[bar] = _share(named, people)
    names, table = scores["attribute"]
    wanted = torch.tensor([[float(name in answer["attribute"]) for name in names] for answer in answers])
    people = torch.tensor([bool(label["word"]) for label in samples.labels])
    bars["attribute"] = ((table > 0.5) == (wanted > 0.5))[people].float().mean()
    return bars


def _noun_bars(scores: tuple[list[str], Tensor], best: list[str], answers: list[dict]) -> dict[str, float]:
    names, table = scores
    single = [a["noun"][0] if len(a["noun"]) == 1 else None for a in answers]
    pairs = [(row, set(a["noun"])) for row, a in enumerate(answers) if len(a["noun"]) == 2]
    top = [{names[i] for i in row} for row in table.topk(2).indices.tolist()]
    return {
        "noun": _share(best, single),
        "noun_training": _share(best, [noun if noun in NOUNS else None for noun in single]),
        "noun_held_out": _share(best, [noun if noun in HELD_OUT_NOUNS else None for noun in single]),
        "both_nouns": np.mean([top[row] == wanted for row, wanted in pairs]),
    }


def segmenter_bars(instruments: Instruments, samples: PictureSet) -> dict[str, float]:
    """Mean intersection over union of the mask at 0.5."""
    return {"segmenter_iou": _iou(instruments, samples)}


def _iou(instruments: Instruments, pictures: PictureSet) -> float:
    found = instruments.mask(_pictures(pictures)).numpy() > 0.5
    wanted = np.asarray(pictures.masks) > 127
    return float(((found & wanted).sum((1, 2)) / np.maximum((found | wanted).sum((1, 2)), 1)).mean())


def concept_bars(instruments: Instruments, instances: PictureSet) -> dict[str, float]:
    """Same concept against another of its kind, for concepts that no encoder saw, in plain pictures.

    Every pair of two pictures of one class word; AUC of cosines, by foreground and by whole picture.
    """
    rows = [row for row, label in enumerate(instances.labels) if not label["style"]]
    pictures = [Image.fromarray(instances.images[row]) for row in rows]
    keys = [instances.labels[row]["key"] for row in rows]
    concepts = [str(key) for key in keys]
    kinds = [HELD_OUT_NOUNS.get(key[1], "person") for key in keys]
    cut = instruments.foreground(pictures)
    bars = {
        "dino_foreground_auc": separation(instruments.dino(cut), concepts, kinds),
        "dino_auc": separation(instruments.dino(pictures), concepts, kinds),
        "clip_foreground_auc": separation(instruments.clip_image(cut), concepts, kinds),
        "clip_auc": separation(instruments.clip_image(pictures), concepts, kinds),
    }
    objects = [row for row, kind in enumerate(kinds) if kind != "person"]
    people = [row for row, kind in enumerate(kinds) if kind == "person"]
    features = instruments.dino(cut)
    for name, part in (("objects", objects), ("people", people)):
        bars[f"dino_foreground_auc_{name}"] = separation(
            features[part], [concepts[i] for i in part], [kinds[i] for i in part]
        )
    return bars


def face_bars(instruments: Instruments, faces: PictureSet) -> dict[str, float]:
    """Verification AUC of held-out people in all their looks, and its part with styles left out."""
    people = [str(label["key"]) for label in faces.labels]
    features = instruments.face(_pictures(faces))
    plain = [row for row, label in enumerate(faces.labels) if not label["style"]]
    return {
        "face_auc": separation(features[plain], [people[row] for row in plain], ["person"] * len(plain)),
        "face_auc_with_styles": separation(features, people, ["person"] * len(people)),
    }


def clip_bars(instruments: Instruments, samples: PictureSet) -> dict[str, float]:
    """Retrieval at 1 of the right caption, then of the right picture, among 100 of training's kind."""
    rows = [row for row, label in enumerate(samples.labels) if not label["held_out"]]
    captions = [samples.labels[row]["caption"] for row in rows]
    images = instruments.clip_image([Image.fromarray(samples.images[row]) for row in rows])
    cosines = images @ instruments.clip_text(captions).T
    to_text, to_image = [], []
    for start in range(0, len(rows) - 99, 100):
        block, words = cosines[start : start + 100, start : start + 100], captions[start : start + 100]
        to_text += [words[best] == words[row] for row, best in enumerate(block.argmax(1).tolist())]
        to_image += [words[best] == words[row] for row, best in enumerate(block.argmax(0).tolist())]
    return {"clip_text_retrieval_100": np.mean(to_text), "clip_image_retrieval_100": np.mean(to_image)}


def write_bars(folder: Path, bars: dict[str, float]) -> dict:
    """`instruments.json` in `folder`: the bars, those required, and those missed."""
    report = {
        "measured_on": {"samples": SAMPLES, "instances": INSTANCES, "faces": FACES, "seed": SEED},
        "bars": bars,
        "required": REQUIRED,
        "missed": sorted(name for name, least in REQUIRED.items() if bars[name] < least),
    }
    (folder / "instruments.json.tmp").write_text(json.dumps(report, indent=1))
    os.replace(folder / "instruments.json.tmp", folder / "instruments.json")
    return report


def _pictures(pictures: PictureSet) -> list[Image.Image]:
    return [Image.fromarray(image) for image in pictures.images]


def _share(found: list[str], wanted: list[str | None]) -> float:
    """Share of right answers where there is one to give."""
    right = [a == b for a, b in zip(found, wanted, strict=True) if b is not None]
    return float(np.mean(right)) if right else float("nan")


def separation(features: Tensor, concepts: list[str], kinds: list[str]) -> float:
    """Probability that two pictures of a concept are nearer than two of different concepts of one kind."""
    cosines = (features @ features.T).numpy()
    first, second = np.triu_indices(len(concepts), 1)
    same = np.array(concepts)[first] == np.array(concepts)[second]
    kind = np.array(kinds)[first] == np.array(kinds)[second]
    near, far = cosines[first, second][same], np.sort(cosines[first, second][kind & ~same])
    below = np.searchsorted(far, near, "left") + np.searchsorted(far, near, "right")
    return float(below.mean() / (2 * len(far)))
