"""DreamBench++: 150 single references, 9 prompts each (Peng et al., arXiv 2406.16855)."""

import re
from pathlib import Path

from diffusers_persona.errors import PersonaError

from ..subjects import Prompt, Subject
from .base import Protocol, lines, pictures

KINDS = {"animal": "live", "human": "person", "object": "object", "style": "style"}
"""Its categories, which are folders, and our kinds."""


def read(data: Path) -> tuple[Subject, ...]:
    """One subject a picture `images/<category>/NN.jpg`, with the text beside it, `captions/<category>/NN.txt`.

    The text's first line is the subject's noun, the others are prompts that hold that noun.
    """
    home = data / "data" if (data / "data" / "images").is_dir() else data
    subjects = []
    for category, kind in KINDS.items():
        for picture in pictures(home / "images" / category):
            caption = home / "captions" / category / f"{picture.stem}.txt"
            noun, prompts = parse(lines(caption), str(caption))
            name = f"{category}_{picture.stem}_{noun.lower().replace(' ', '_')}"
            subjects.append(Subject(name=name, kind=kind, noun=noun, references=(picture,), prompts=prompts))
    return tuple(subjects)


def parse(content: list[str], name: str) -> tuple[str, tuple[Prompt, ...]]:
    """(noun, prompts) of the lines of a caption file; the noun's first mention becomes the concept's place.

    Raises:
        PersonaError: there are no prompts, or one does not mention the noun.
    """
    if len(content) < 2:
        raise PersonaError(f"{name}: the first line is the subject, the others are prompts; it has {len(content)}")
    noun, *texts = content
    mention = re.compile(rf"(?<!\w){re.escape(noun)}(?!\w)", re.IGNORECASE)
    prompts = []
    for text in texts:
        escaped = text.replace("{", "(").replace("}", ")")
        template, found = mention.subn("{}", escaped, count=1)
        if not found:
            raise PersonaError(f"{name}: the prompt {text!r} does not mention the subject {noun!r}")
        prompts.append(Prompt(template=re.sub(r"\b([aA])n \{\}", r"\1 {}", template)))
    return noun, tuple(prompts)


DREAMBENCH_PLUS = Protocol(
    id="dreambench++",
    title="DreamBench++",
    paper="arXiv 2406.16855",
    source="take the folder data/ that github.com/yuangpeng/dreambench_plus links to (pictures for research only)",
    read=read,
    images_per_prompt=1,
    steps=100,
    guidance=7.5,
    headline=("dino_i_paired", "clip_t"),
)
