"""What a cell of a benchmark learns: one concept, or several, with the pictures that fit its recipe."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers_persona as dp

from .host import Host, parts
from .metrics import class_prompt
from .summary import REFERENCE_ROWS


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (recipe, concept, seed); `recipe` may also be one of `REFERENCE_ROWS`. `numbers` override the recipe's."""

    recipe: str
    concept: str
    seed: int
    numbers: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Concepts to attach, the phrase of each place of a prompt, and what learning took.

    `cpu_seconds` is processor time, which other work on the machine leaves alone; `artifact_bytes` the tensors.
    """

    concepts: list[Any] = field(default_factory=list)
    phrases: list[str] = field(default_factory=list)
    negative: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    artifact_bytes: int = 0


def learn(cell: Cell, concept: Any, host: Host) -> Learned:
    """Learns `concept` as the recipe of the cell does: at once, thing by thing, or part by part and then merged."""
    from diffusers_persona import recipes

    entry = recipes.get(cell.recipe)
    declared = entry.build(**cell.numbers)
    start, cpu = time.perf_counter(), time.process_time()
    if at_once(declared, concept):
        learned = [_learn(cell, concept, host, entry, declared)]
        phrases = learned[0].phrase.split(" and ") if getattr(concept, "things", ()) else [learned[0].phrase]
    else:
        lessons = lessons_of(concept)
        learned = []
        for each in lessons:
            learned.append(_learn(cell, each, host, entry, declared, before=learned))
        phrases = [each.phrase for each in learned]
        if getattr(concept, "kind", "") == "merged" and declared.merge is not None:
            learned = [dp.merge(learned, host.pipe)]
    return Learned(
        concepts=learned,
        phrases=phrases,
        negative=", ".join(each.negative for each in learned if each.negative),
        numbers=learned[0].header["numbers"],
        seconds=round(time.perf_counter() - start, 2),
        cpu_seconds=round(time.process_time() - cpu, 2),
        artifact_bytes=sum(_size(each) for each in learned),
    )


def at_once(declared: Any, concept: Any) -> bool:
    """Whether one run of the recipe learns the whole concept."""
    if len(parts(concept)) > 1:
        return takes_pictures_of_each(declared)
    several = declared.data.parts or any(getattr(space, "part", None) is not None for space in declared.space)
    return several or not getattr(concept, "things", ())


def takes_pictures_of_each(declared: Any) -> bool:
    """Whether one run of the recipe learns several things from pictures of each."""
    from diffusers_persona.inversion.prompts import EachItsOwn

    return isinstance(declared.data.prompts, EachItsOwn)


def lessons_of(concept: Any) -> list[Any]:
    """What is learned one by one in place of a concept: its parts, or its things from the pictures they stand in."""
    if len(parts(concept)) > 1:
        return list(parts(concept))
    return [
        replace(concept, kind=thing.kind, noun=thing.noun, true_name=thing.true_name, things=())
        for thing in concept.things
    ]


def _learn(cell: Cell, concept: Any, host: Host, entry: Any, declared: Any, before: Sequence[Any] = ()) -> Any:
    return dp.learn(host.pipe, **lesson(cell, concept, host, entry, declared, before))


def lesson(
    cell: Cell, concept: Any, host: Host, entry: Any, declared: Any, before: Sequence[Any] = ()
) -> dict[str, Any]:
    """What `learn` is given for a concept that is learned at once; `before` are the concepts learned beside it."""
    return {
        "images": pictures_of(concept, declared),
        "recipe": cell.recipe,
        "token": _token(declared, concept, host, before),
        "noun": concept.noun,
        "kind": _kind(concept),
        "seed": cell.seed,
        "masks": _masks(concept) if entry.masks else None,
        "templates": None if getattr(concept, "things", ()) else host.templates(concept),
        "prior_images": class_pictures_of(cell, concept, host),
        "progress": False,
        **cell.numbers,
    }


def pictures_of(concept: Any, declared: Any) -> Any:
    """The references, with captions for a recipe that learns by them: in place of several things their nouns."""
    from diffusers_persona.inversion.images import load_images
    from diffusers_persona.inversion.prompts import AsWritten, Captions

    if takes_pictures_of_each(declared):
        return {part.noun: list(part.references) for part in parts(concept)}
    files, captions = list(concept.references), list(getattr(concept, "captions", ()))
    if not captions or not isinstance(declared.data.prompts, (AsWritten, Captions)):
        return files
    nouns = [thing.noun for thing in getattr(concept, "things", ())]
    if nouns and isinstance(declared.data.prompts, Captions):
        captions = [class_prompt(caption, *nouns) for caption in captions]
    elif "{0}" in captions[0] and not nouns:  # a thing of several that is learned alone
        return files
    return load_images(files, captions=captions)


def _masks(concept: Any) -> Any:
    things = getattr(concept, "things", ())
    if len(parts(concept)) > 1:
        return {part.noun: list(part.masks) for part in parts(concept)}
    if not things:
        return list(getattr(concept, "masks", ())) or None
    return {thing.noun: list(files) for thing, files in zip(things, concept.part_masks, strict=True) if files} or None


def _kind(concept: Any) -> str:
    from diffusers_persona.inversion.prompts import TEMPLATES

    return concept.kind if concept.kind in TEMPLATES else "object"


def _token(declared: Any, concept: Any, host: Host, before: Sequence[Any]) -> str | None:
    """A second concept's word must differ from the first's, also where their nouns are the same."""
    from diffusers_persona import backbones
    from diffusers_persona.spaces.word import rare_word

    if not before:
        return None
    if any(space.adds_token for space in declared.space):
        return f"<{concept.noun.replace(' ', '-')}-{len(before) + 1}>"
    tokenizer = next(iter(backbones.of(host.pipe).tokenizers.values()))
    return rare_word(tokenizer, [each.token for each in before])


def _size(concept: Any) -> int:
    with tempfile.TemporaryDirectory() as folder:
        concept.save_pretrained(folder)
        return sum(path.stat().st_size for path in Path(folder).glob("concept.safetensors"))


def class_pictures_of(cell: Cell, concept: Any, host: Host) -> Path | None:
    """The folder of real class pictures for a recipe whose paper has such a prior set, where the host has one."""
    if cell.recipe in REFERENCE_ROWS:
        return None
    from diffusers_persona import recipes

    losses = recipes.get(cell.recipe).build(**cell.numbers).method.losses
    real = any(getattr(loss, "real", False) and loss.weight for loss in losses)
    return host.class_pictures(concept) if real else None


def files_of(concept: Any) -> Sequence[Path]:
    """Every picture that a concept is learned from or scored by."""
    sources = [*parts(concept), *getattr(concept, "things", ())]
    masks = [path for part in parts(concept) for path in getattr(part, "masks", ())]
    return [Path(path) for source in sources for path in source.references] + masks
