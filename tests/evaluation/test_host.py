"""The Toybox as the world of the benchmark."""

import pytest

from diffusers_persona import toybox
from diffusers_persona.evaluation.host import KINDS, toybox_expectation
from diffusers_persona.toybox import prompts

CONCEPTS = {concept.name: concept for concept in toybox.concepts()}


def expectation(name, index):
    concept = CONCEPTS[name]
    return toybox_expectation(concept, prompts.for_kind(concept.kind)[index])


def test_every_benchmark_concept_has_a_rendering_of_each_prompt():
    for concept in toybox.concepts():
        if concept.kind in KINDS:
            names = [path.name for path in sorted((concept.folder / "oracle").glob("*.png"))]
            assert names == [f"{index:02d}.png" for index in range(len(prompts.for_kind(concept.kind)))]


def test_the_text_names_the_class_and_what_is_asked():
    asked = expectation("hedgehog", 0)
    assert asked.text == "an animal in the snow" and asked.background == "snow"


@pytest.mark.parametrize(("style", "asked"), [("mosaic", "red"), ("blueprint", None)])
def test_a_colour_background_is_not_asked_of_a_style_that_keeps_outlines_alone(style, asked):
    (index,) = (i for i, prompt in enumerate(prompts.for_kind("style")) if prompt.background == "red")
    assert expectation(style, index).background == asked
    assert expectation(style, index).noun == "elephant"


def test_prompts_and_references_share_no_background():
    for concept in toybox.concepts():
        asked = {prompt.background for prompt in prompts.for_kind(concept.kind)}
        assert not asked & set(concept.training_backgrounds)
