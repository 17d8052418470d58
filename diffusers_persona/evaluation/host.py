"""What a benchmark runs in: a base model, instruments that judge it, concepts, prompts and what each prompt asks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from diffusers_persona.errors import PersonaError

from .metrics import Expectation, class_prompt
from .rows import file_digest
from .scorer import Scorer

KINDS = ("live", "object", "person", "style")
"""Kinds of concepts that `learn` knows; others (relations) are left out of the benchmark."""
STYLE_TEMPLATES = ("a {phrase}", "a {phrase} of a thing")
"""Prompts to learn a Toybox style by: its captions say "a sketch of a cat", not "in the style of"."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """The world of a benchmark.

    pipe: a stock pipeline. concepts: objects with `name, kind, noun, true_name, references, folder` and perhaps
    `parts` (see `subjects.Subject` and `toybox.ToyConcept`); `true_name` is the name by which the classifier knows the
    concept.
    prompts: concept -> prompts, each with a `template`. expect: (concept, prompt) -> what a good picture shows.
    templates: concept -> prompts of learning in place of the recipe's, or None.
    class_pictures: concept -> folder of real pictures of its class, or None.
    base_fingerprint, instruments_fingerprint: digests of the weights; rows made with others are stale.
    masking: the fill rule of the masked metrics, for the reader: the literature has no standard one.
    reference_rows: the rows that are no recipes (see `cells`).
    paired: whether each picture is also compared with one reference alone.
    reward: a preference model (`scorer.Reward`) and `reward_name`, which tells it from others.
    protocol: the id of the benchmark.
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

    def concept(self, name: str) -> Any:
        """The concept called `name`."""
        for concept in self.concepts:
            if concept.name == name:
                return concept
        raise PersonaError(f"there is no concept {name!r}: choose from {', '.join(c.name for c in self.concepts)}.")

    def scorer(self, concept: Any, references: Sequence[Sequence[Image.Image]]) -> Scorer:
        """A scorer of pictures of a concept; `references` are those of each of its `parts`."""
        return Scorer(
            self.instruments,
            references[0],
            kind=concept.kind,
            label=classifier_label(self.instruments, concept, references[0]),
            others=references[1:],
            noun=concept.noun,
            reward=self.reward,
        )


def parts(concept: Any) -> tuple[Any, ...]:
    """The concepts that are learned for a concept: its parts, or itself."""
    return getattr(concept, "parts", ()) or (concept,)


def classifier_label(instruments: Any, concept: Any, references: Sequence[Image.Image]) -> tuple[str, str] | None:
    """(attribute, name) by which the instruments' classifier knows the concept, or None where it does not."""
    if not getattr(concept, "true_name", ""):
        return None
    attribute = {"person": "person", "style": "style"}.get(concept.kind, "noun")
    names, _ = instruments.attributes(list(references[:1]))[attribute]
    return (attribute, concept.true_name) if concept.true_name in names else None


def expectation(concept: Any, prompt: Any) -> Expectation:
    """What any prompt asks for: its text without the learned tokens, and what its own fields say."""
    return Expectation(
        text=class_prompt(prompt.template, *(part.noun for part in parts(concept))),
        background=prompt.background,
        style=prompt.style,
        noun=prompt.noun,
        second_noun=prompt.second_noun,
        attribute=prompt.attribute,
    )


def toybox_expectation(concept: Any, prompt: Any) -> Expectation:
    """What a ToyBench prompt asks for; a colour background asks nothing in a style that keeps outlines alone."""
    from dataclasses import replace

    from diffusers_persona.toybox.instruments.attributes import COLOURLESS_STYLES
    from diffusers_persona.toybox.vocabulary import COLOURS

    style = concept.true_name if concept.kind == "style" else prompt.style
    lost = style in COLOURLESS_STYLES and prompt.background in COLOURS
    asked = expectation(concept, prompt)
    return replace(asked, background=None) if lost else asked


def toybox_host() -> Host:
    """The embedded Toybox as a host."""
    from diffusers_persona import toybox
    from diffusers_persona.toybox import instruments, prompts

    base, measuring = toybox_fingerprints()
    return Host(
        pipe=toybox.load(),
        instruments=instruments.load(),
        concepts=tuple(concept for concept in toybox.concepts() if concept.kind in KINDS),
        prompts=lambda concept: prompts.for_kind(concept.kind),
        expect=toybox_expectation,
        templates=lambda concept: STYLE_TEMPLATES if concept.kind == "style" else None,
        class_pictures=lambda concept: None if concept.kind == "style" else toybox.class_pictures(concept.noun),
        base_fingerprint=base,
        instruments_fingerprint=measuring,
        masking=toybox_masking(),
    )


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
