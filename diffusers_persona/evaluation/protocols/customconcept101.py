"""CustomConcept101: 101 concepts with 20 prompts each, and 101 pairs with 12 (Kumari et al., arXiv 2212.04488)."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diffusers_persona.errors import PersonaError

from ..subjects import Prompt, Subject
from .base import Protocol, lines, pictures, text

SOURCE = (
    "take the folder customconcept101/ of github.com/adobe-research/custom-diffusion, and put the pictures of its "
    "benchmark_dataset.zip beside dataset.json (licences: see its README)"
)
KINDS = {"pet": "live", "person": "person"}
"""First words of the picture folders that are no objects."""


def read_single(data: Path) -> tuple[Subject, ...]:
    """The concepts of `dataset.json` whose folders hold pictures."""
    home, entries = _entries(data, "dataset.json")
    subjects = (_subject(home, entry, prompts=True) for entry in entries)
    return tuple(subject for subject in subjects if subject.references)


def read_pairs(data: Path) -> tuple[Subject, ...]:
    """The pairs of `dataset_multiconcept.json` whose folders both hold pictures."""
    home, entries = _entries(data, "dataset_multiconcept.json")
    subjects = []
    for entry in entries:
        if not (isinstance(entry, list) and len(entry) == 3 and "prompt_filename_compose" in entry[-1]):
            raise PersonaError(f"{home}/dataset_multiconcept.json: no pair with its prompts: {entry!r:.80}")
        parts = tuple(_subject(home, part, prompts=False) for part in entry[:2])
        if all(part.references for part in parts):
            subjects.append(
                Subject(
                    name="+".join(part.name for part in parts),
                    kind="object",
                    noun=" and ".join(part.noun for part in parts),
                    prompts=_prompts(_inside(home, entry[-1]["prompt_filename_compose"]), places=("{0}", "{1}")),
                    parts=parts,
                )
            )
    return tuple(subjects)


def _entries(data: Path, name: str) -> tuple[Path, Sequence[Any]]:
    home = next((each for each in (data, data / "customconcept101") if (each / name).is_file()), data)
    try:
        entries = json.loads(text(home / name))
    except ValueError as error:
        raise PersonaError(f"{home / name}: not JSON ({error})") from None
    if not isinstance(entries, list):
        raise PersonaError(f"{home / name}: holds no list of concepts")
    return home, entries


def _subject(home: Path, entry: Any, *, prompts: bool) -> Subject:
    try:
        folder, noun = _inside(home, entry["instance_data_dir"]), str(entry["class_prompt"])
        file = _inside(home, entry["prompt_filename"]) if prompts else None
    except (KeyError, TypeError):
        raise PersonaError(
            f"{home}: an entry lacks instance_data_dir, class_prompt or prompt_filename: {entry!r:.80}"
        ) from None
    return Subject(
        name=folder.name,
        kind=KINDS.get(folder.name.partition("_")[0], "object"),
        noun=noun,
        references=pictures(folder),
        prompts=_prompts(file, places=("{}",)) if file else (),
    )


def _prompts(file: Path, places: Sequence[str]) -> tuple[Prompt, ...]:
    return tuple(_checked(lines(file), file, places))


def _checked(templates: Sequence[str], file: Path, places: Sequence[str]) -> Iterator[Prompt]:
    for template in templates:
        found = [template.count(place) for place in places]
        if not all(found) or template.count("{") != sum(found):
            raise PersonaError(f"{file}: the prompt {template!r} needs {' and '.join(places)}, and no other braces")
        yield Prompt(template=template)


def _inside(home: Path, name: str) -> Path:
    """A path of the file, which may not leave the folder of the data."""
    path = (home / name).resolve()
    if not path.is_relative_to(home.resolve()):
        raise PersonaError(f"{home}: {name!r} points outside of this folder")
    return path


CUSTOMCONCEPT101 = Protocol(
    id="customconcept101",
    title="CustomConcept101",
    paper="Custom Diffusion, arXiv 2212.04488",
    source=SOURCE,
    read=read_single,
    images_per_prompt=5,
    steps=50,
    guidance=6.0,
)
CUSTOMCONCEPT101_PAIRS = dataclasses.replace(
    CUSTOMCONCEPT101, id="customconcept101-pairs", title="CustomConcept101 (pairs)", read=read_pairs
)
