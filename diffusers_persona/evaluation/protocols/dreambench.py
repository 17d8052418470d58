"""DreamBench: 30 subjects, 25 prompts each (Ruiz et al., DreamBooth, arXiv 2208.12242).

The prompts stand in `prompts_and_classes.txt`, a table and two lists that look like Python. They are read as text.
"""

import re
from pathlib import Path

from diffusers_persona.errors import PersonaError

from ..subjects import Prompt, Subject
from .base import Protocol, pictures, text

FILE = "prompts_and_classes.txt"
LIVE = ("cat", "dog")
"""The classes whose subjects get the prompts for live subjects."""
_ROW = re.compile(r"^(\w+),([\w ]+)$", re.MULTILINE)
_TEMPLATE = re.compile(r"^\s*'((?:[^'\\]|\\')*)'\s*\.format\(unique_token, class_token\)", re.MULTILINE)
_SECTION = re.compile(r"^(Object Prompts|Live Subject Prompts)\s*$", re.MULTILINE)


def read(data: Path) -> tuple[Subject, ...]:
    """The subjects of the table whose folders hold pictures, in the table's order (some copies hold fewer than 30)."""
    home = data / "dataset" if (data / "dataset" / FILE).is_file() else data
    classes, prompts = parse(text(home / FILE), str(home / FILE))
    subjects = []
    for name, noun in classes.items():
        kind = "live" if noun in LIVE else "object"
        if files := pictures(home / name):
            subjects.append(Subject(name=name, kind=kind, noun=noun, references=files, prompts=prompts[kind]))
    return tuple(subjects)


def parse(content: str, name: str = FILE) -> tuple[dict[str, str], dict[str, tuple[Prompt, ...]]]:
    """(subject -> class, "object" or "live" -> prompts) of the text of `prompts_and_classes.txt`.

    A template `'a {0} {1} in the jungle'` (token, class) becomes "a {} in the jungle": what stands in the place is the
    concept's phrase, which is the token alone or with its class, as the recipe has it.

    Raises:
        PersonaError: the table or a list of prompts is missing, or a template has no place for the concept.
    """
    table, *parts = _SECTION.split(content)
    classes = {subject: noun.strip() for subject, noun in _ROW.findall(table) if subject != "subject_name"}
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    prompts = {}
    for kind, title in (("object", "Object Prompts"), ("live", "Live Subject Prompts")):
        templates = [found.replace("\\'", "'") for found in _TEMPLATE.findall(sections.get(title, ""))]
        if not classes or not templates:
            raise PersonaError(
                f"{name}: no {'list ' + repr(title) if classes else 'table of classes'} was found in it"
            )
        if wrong := [template for template in templates if template.count("{0} {1}") != 1]:
            raise PersonaError(f"{name}: the prompt {wrong[0]!r} needs '{{0}} {{1}}' exactly once")
        prompts[kind] = tuple(Prompt(template=template.replace("{0} {1}", "{}")) for template in templates)
    return classes, prompts


DREAMBENCH = Protocol(
    id="dreambench",
    title="DreamBench",
    paper="DreamBooth, arXiv 2208.12242",
    source="take the folder dataset/ of github.com/google/dreambooth (CC BY 4.0, its references_and_licenses.txt)",
    read=read,
    images_per_prompt=4,
    steps=50,
    guidance=7.5,
)
