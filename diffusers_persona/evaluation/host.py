"""What a benchmark runs in: a base model, instruments that judge it, concepts, prompts and what each prompt asks."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from diffusers_persona.errors import PersonaError

from .boards import board_name, concepts_of
from .metrics import Expectation, class_prompt
from .rows import file_digest
from .scorer import Scorer, Thing

TEMPLATES = {"style": ("a {phrase}", "a {phrase} of a thing"), "relation": ("a thing {phrase} a thing",)}
"""Prompts to learn a Toybox style by, whose captions say "a sketch of a cat", not "in the style of"; and a relation,
for recipes that learn without captions."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """The world of a benchmark.

    pipe: a stock pipeline. concepts: objects with `name, kind, noun, true_name, references, folder` and perhaps
    `parts` and `things` (see `subjects.Subject` and `toybox.ToyConcept`); `true_name` is the name by which the
    classifier knows the concept.
    prompts: concept -> prompts, each with a `template`. expect: (concept, prompt) -> what a good picture shows.
    templates: concept -> prompts of learning in place of the recipe's, or None.
    class_pictures: concept -> folder of real pictures of its class, or None.
    base_fingerprint, instruments_fingerprint: digests of the weights; rows made with others are stale.
    masking: the fill rule of the masked metrics, for the reader: the literature has no standard one.
    reference_rows: the rows that are no recipes (see `cells`).
    paired: whether each picture is also compared with one reference alone.
    reward: a preference model (`scorer.Reward`) and `reward_name`, which tells it from others.
    protocol: the id of the benchmark.
    board: registered recipe -> names of the concepts that fit it; None takes all.
    style_centre: gives what plain pictures have in common (see `style`); with it scores get one figure of fidelity.
    scoring: name of the way of scoring, where it differs from that of older rows.
    """

    pipe: Any
    instruments: Any
    concepts: Sequence[Any]
    prompts: Callable[[Any], Sequence[Any]]
    expect: Callable[[Any, Any], Expectation]
    templates: Callable[[Any], tuple[str, ...] | None]
    class_pictures: Callable[[Any], Path | None]
    base_fingerprint: str
    instruments_fingerprint: str
    masking: str
    reference_rows: tuple[str, ...] = ("real-images", "base", "copy-paste", "oracle")
    paired: bool = False
    reward: Any = None
    reward_name: str = ""
    protocol: str = "toybench"
    board: Callable[[Any], tuple[str, ...]] | None = None
    style_centre: Callable[[], Any] | None = None
    scoring: str = ""

    def concept(self, name: str) -> Any:
        """The concept called `name`; "hedgehog@1" is the hedgehog with its first picture alone."""
        plain, _, count = name.partition("@")
        for concept in self.concepts:
            if concept.name == name:
                return concept
            if concept.name == plain and count.isdigit():
                return _fewer(concept, int(count))
        raise PersonaError(f"there is no concept {name!r}: choose from {', '.join(c.name for c in self.concepts)}.")

    def scorer(self, concept: Any, references: Sequence[Sequence[Image.Image]]) -> Scorer:
        """A scorer of pictures of a concept; `references` are those of each of its `things`."""
        shown = things(concept)
        labels = [classifier_label(self.instruments, each, own) for each, own in zip(shown, references, strict=True)]
        named = [Thing(kind=thing.kind, label=label) for thing, label in zip(shown, labels, strict=True)]
        return Scorer(
            self.instruments,
            references[0],
            kind=concept.kind,
            label=labels[0],
            others=references[1:],
            things=named if self.style_centre else (),
            style_centre=self.style_centre() if self.style_centre else None,
            noun=concept.noun,
            reward=self.reward,
        )


def parts(concept: Any) -> tuple[Any, ...]:
    """The concepts that are learned for a concept: its parts, or itself."""
    return getattr(concept, "parts", ()) or (concept,)


def things(concept: Any) -> tuple[Any, ...]:
    """What the places of a concept's prompts stand for: its things, its parts, or itself."""
    return getattr(concept, "things", ()) or parts(concept)


def _fewer(concept: Any, count: int) -> Any:
    """The concept with its first `count` pictures alone."""
    counted = ("references", "masks", "captions", "training_backgrounds")
    kept = {name: getattr(concept, name)[:count] for name in counted if hasattr(concept, name)}
    if getattr(concept, "part_masks", ()):
        kept["part_masks"] = tuple(masks[:count] for masks in concept.part_masks)
    return replace(concept, name=f"{concept.name}@{count}", **kept)


def classifier_label(instruments: Any, concept: Any, references: Sequence[Image.Image]) -> tuple[str, str] | None:
    """(attribute, name) by which the instruments' classifier knows the concept, or None where it does not."""
    if not getattr(concept, "true_name", ""):
        return None
    attribute = {"person": "person", "style": "style"}.get(concept.kind, "noun")
    names, _ = instruments.attributes(list(references[:1]))[attribute]
    return (attribute, concept.true_name) if concept.true_name in names else None


def expectation(concept: Any, prompt: Any) -> Expectation:
    """What any prompt asks for: its text without the learned tokens, and what its own fields say."""
    shown = things(concept)
    return Expectation(
        text=class_prompt(prompt.template, *(thing.noun for thing in shown)),
        things=prompt.things if len(shown) > 1 and hasattr(prompt, "things") else None,
        background=prompt.background,
        style=prompt.style,
        noun=prompt.noun,
        second_noun=prompt.second_noun,
        attribute=prompt.attribute,
    )


def toybox_expectation(concept: Any, prompt: Any) -> Expectation:
    """What a ToyBench prompt asks for, as far as the classifiers can tell.

    A colour background asks nothing in a style that keeps outlines alone, and in styles that the classifiers never saw
    only what they find in the world's own picture is asked.
    """
    from diffusers_persona.toybox.instruments.attributes import COLOURLESS_STYLES, LAYOUTS, SWAPPED
    from diffusers_persona.toybox.vocabulary import COLOURS, UNSEEN_STYLES

    asked = expectation(concept, prompt)
    numbers = range(len(things(concept))) if asked.things is None else asked.things
    styles = [things(concept)[n].true_name for n in numbers if things(concept)[n].kind == "style"]
    if concept.kind == "relation":
        first = prompt.second_noun if concept.true_name in SWAPPED else prompt.noun
        asked = replace(asked, relation=(LAYOUTS.get(concept.true_name, concept.true_name), first))
    if any(style in COLOURLESS_STYLES for style in (*styles, prompt.style)) and prompt.background in COLOURS:
        asked = replace(asked, background=None)
    return _legible(concept, prompt, asked) if any(style in UNSEEN_STYLES for style in styles) else asked


def _legible(concept: Any, prompt: Any, asked: Expectation) -> Expectation:
    """What is asked without that which the classifiers do not find in the world's own picture of the prompt."""
    read = _oracle_reading(concept.folder)
    number = [each.template for each in _toybox_prompts(concept)].index(prompt.template)
    seen = {head: names[int(table[number].argmax())] for head, (names, table) in read.items()}
    lost = {"background": "background", "noun": "noun"}
    return replace(asked, **{field: None for field, head in lost.items() if getattr(asked, field) != seen[head]})


@functools.cache
def _oracle_reading(folder: Path) -> Any:
    from diffusers_persona.toybox import instruments

    pictures = [Image.open(path).convert("RGB") for path in sorted((folder / "oracle").glob("*.png"))]
    return instruments.load().attributes(pictures)


def _toybox_prompts(concept: Any) -> Sequence[Any]:
    from diffusers_persona.toybox import prompts

    return prompts.for_kind(concept.kind)


@functools.cache
def plain_style() -> Any:
    """What the Toybox's plain pictures have in common, [d]; see `style.style_statistics`."""
    from diffusers_persona.toybox import class_sets, instruments

    from .style import plain_statistics

    pictures = [Image.open(path).convert("RGB") for path in sorted(class_sets.FOLDER.rglob("*.png"))]
    return plain_statistics(instruments.load().feature_maps(pictures)).mean(dim=0)


def toybox_host() -> Host:
    """The embedded Toybox as a host."""
    from diffusers_persona import toybox
    from diffusers_persona.toybox import instruments

    base, measuring = toybox_fingerprints()
    return Host(
        pipe=toybox.load(),
        instruments=instruments.load(),
        concepts=tuple(toybox.concepts()),
        prompts=_toybox_prompts,
        expect=toybox_expectation,
        templates=lambda concept: TEMPLATES.get(concept.kind),
        class_pictures=_toybox_class_pictures,
        base_fingerprint=base,
        instruments_fingerprint=measuring,
        masking=toybox_masking(),
        board=lambda entry: concepts_of(board_name(entry)),
        style_centre=plain_style,
        scoring="fidelity by kind of concept",
    )


def _toybox_class_pictures(concept: Any) -> Path | None:
    """Pictures of things and people; there are none of styles and relations, nor of two classes at once."""
    from diffusers_persona.toybox import class_sets

    return class_sets.FOLDER / concept.noun if (class_sets.FOLDER / concept.noun).is_dir() else None


def toybox_fingerprints() -> tuple[str, str]:
    """Digests of the Toybox's pipeline and of its instruments."""
    from diffusers_persona import toybox

    models = Path(toybox.__file__).parent / "models"
    weights = sorted(models.rglob("*.safetensors"))
    pipeline = [path for path in weights if path.relative_to(models).parts[0] == "pipeline"]
    return file_digest(pipeline), file_digest(path for path in weights if path not in pipeline)


def toybox_masking() -> str:
    """The fill rule of the Toybox's segmenter."""
    from diffusers_persona.toybox.instruments.geometry import GRAY

    return f"the segmenter's background is filled with RGB {(GRAY,) * 3} and the picture cut to a square"
