"""What a benchmark runs in: a base model, instruments that judge it, concepts, prompts and what each prompt asks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers_persona.errors import PersonaError

from .metrics import Expectation, class_prompt
from .rows import file_digest

KINDS = ("live", "object", "person", "style")
"""Kinds of concepts that `learn` knows; others (relations) are left out of the benchmark."""
STYLE_TEMPLATES = ("a {phrase}", "a {phrase} of a thing")
"""Prompts to learn a Toybox style by: its captions say "a sketch of a cat", not "in the style of"."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """The world of a benchmark.

    pipe: a stock pipeline. concepts: objects with `name, kind, noun, true_name, references, folder` (see
    `toybox.ToyConcept`); `true_name` is the name by which the classifier knows the concept.
    prompts: kind -> prompts, each with a `template`. expect: (concept, prompt) -> what a good picture shows.
    templates: concept -> prompts of learning in place of the recipe's, or None.
    class_pictures: concept -> folder of real pictures of its class, or None.
    base_fingerprint, instruments_fingerprint: digests of the weights; rows made with others are stale.
    masking: the fill rule of the masked metrics, for the reader: the literature has no standard one.
    """

    pipe: Any
    instruments: Any
    concepts: Sequence[Any]
    prompts: Callable[[str], Sequence[Any]]
    expect: Callable[[Any, Any], Expectation]
    templates: Callable[[Any], tuple[str, ...] | None]
    class_pictures: Callable[[Any], Path | None]
    base_fingerprint: str
    instruments_fingerprint: str
    masking: str

    def concept(self, name: str) -> Any:
        """The concept called `name`."""
        for concept in self.concepts:
            if concept.name == name:
                return concept
        raise PersonaError(f"there is no concept {name!r}: choose from {', '.join(c.name for c in self.concepts)}.")


def toybox_host() -> Host:
    """The embedded Toybox as a host."""
    from diffusers_persona import toybox
    from diffusers_persona.toybox import instruments, prompts
    from diffusers_persona.toybox.instruments.geometry import GRAY

    models = Path(toybox.__file__).parent / "models"
    weights = sorted(models.rglob("*.safetensors"))
    pipeline = [path for path in weights if path.relative_to(models).parts[0] == "pipeline"]
    return Host(
        pipe=toybox.load(),
        instruments=instruments.load(),
        concepts=tuple(concept for concept in toybox.concepts() if concept.kind in KINDS),
        prompts=prompts.for_kind,
        expect=toybox_expectation,
        templates=lambda concept: STYLE_TEMPLATES if concept.kind == "style" else None,
        class_pictures=lambda concept: None if concept.kind == "style" else toybox.class_pictures(concept.noun),
        base_fingerprint=file_digest(pipeline),
        instruments_fingerprint=file_digest(path for path in weights if path not in pipeline),
        masking=f"the segmenter's background is filled with RGB {(GRAY,) * 3} and the picture cut to a square",
    )


def toybox_expectation(concept: Any, prompt: Any) -> Expectation:
    """What a ToyBench prompt asks for; a colour background asks nothing in a style that keeps outlines alone."""
    from diffusers_persona.toybox.instruments.attributes import COLOURLESS_STYLES
    from diffusers_persona.toybox.vocabulary import COLOURS

    style = concept.true_name if concept.kind == "style" else prompt.style
    lost = style in COLOURLESS_STYLES and prompt.background in COLOURS
    return Expectation(
        text=class_prompt(prompt.template, concept.noun),
        background=None if lost else prompt.background,
        style=prompt.style,
        noun=prompt.noun,
        second_noun=prompt.second_noun,
        attribute=prompt.attribute,
    )
