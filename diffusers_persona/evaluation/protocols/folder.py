"""A user's own pictures as a benchmark: a folder of pictures, or a folder of such folders."""

from pathlib import Path

from diffusers_persona.errors import PersonaError

from ..subjects import Prompt, Subject
from .base import Protocol, lines, pictures

KINDS = ("object", "live", "person", "style")
PROMPTS = (
    "a {} on the beach",
    "a {} in the snow",
    "a {} in the city",
    "a {} on a red background",
    "a painting of a {}",
    "a {} next to a cat",
)
"""Where the folder has no `prompts.txt`."""


def read(data: Path) -> tuple[Subject, ...]:
    """The folder's own pictures as one subject, else one subject a folder inside.

    `classes.txt` has a line `name,noun` or `name,noun,kind` a subject; without it, the folder's name is its noun.
    `prompts.txt` beside the pictures, or else beside the folders, has one prompt with `{}` a line.
    """
    folders = [data] if pictures(data) else sorted(path for path in data.iterdir() if pictures(path))
    known = _classes(data / "classes.txt")
    if strangers := sorted(known.keys() - {folder.name for folder in folders}):
        raise PersonaError(f"{data / 'classes.txt'}: no folder with pictures is called {', '.join(strangers)}")
    subjects = []
    for folder in folders:
        noun, kind = known.get(folder.name, (folder.resolve().name.replace("_", " "), "object"))
        subjects.append(
            Subject(
                name=folder.resolve().name,
                kind=kind,
                noun=noun,
                references=pictures(folder),
                prompts=_prompts(next((p for p in (folder, data) if (p / "prompts.txt").is_file()), None)),
            )
        )
    return tuple(subjects)


def _classes(path: Path) -> dict[str, tuple[str, str]]:
    if not path.is_file():
        return {}
    classes = {}
    for line in lines(path):
        name, noun, kind = _three(line)
        if line.count(",") > 2 or not name or not noun or kind not in KINDS:
            raise PersonaError(f"{path}: {line!r} is not name,noun or name,noun,kind (kinds: {', '.join(KINDS)})")
        classes[name] = (noun, kind)
    return classes


def _three(line: str) -> tuple[str, str, str]:
    parts = [part.strip() for part in line.split(",")]
    return parts[0], parts[1] if len(parts) > 1 else "", parts[2] if len(parts) > 2 else "object"


def _prompts(folder: Path | None) -> tuple[Prompt, ...]:
    templates = lines(folder / "prompts.txt") if folder else PROMPTS
    for template in templates:
        if template.count("{}") != 1 or template.count("{") != 1:
            raise PersonaError(f"{folder}/prompts.txt: the prompt {template!r} needs {{}} exactly once")
    return tuple(Prompt(template=template) for template in templates)


FOLDER = Protocol(
    id="folder",
    title="Your own pictures",
    paper="the aggregation of DreamBooth, arXiv 2208.12242",
    source="give a folder of pictures, or a folder of such folders",
    read=read,
    images_per_prompt=2,
    steps=25,
    guidance=7.5,
)
