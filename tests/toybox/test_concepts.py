"""The held-out concepts that ship with the package."""

import pytest
from PIL import Image

from diffusers_persona import toybox
from diffusers_persona.errors import PersonaError
from diffusers_persona.toybox import prompts
from diffusers_persona.toybox import vocabulary as v

CONCEPTS = toybox.concepts()


def test_objects_people_styles_and_relations_ship():
    kinds = [concept.kind for concept in CONCEPTS]
    assert len(CONCEPTS) >= 12
    assert kinds.count("live") + kinds.count("object") >= 7
    assert kinds.count("person") >= 3 and kinds.count("style") >= 2 and kinds.count("relation") >= 1


@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda concept: concept.name)
def test_a_concept_is_complete(concept):
    assert len(concept.references) == len(concept.masks) == len(concept.captions) == 5
    assert len(set(concept.training_backgrounds)) == 5
    assert len(concept.oracle) == len(prompts.for_kind(concept.kind))
    for path in (*concept.references, *concept.masks, *concept.oracle):
        with Image.open(path) as image:
            assert image.size == (64, 64)
    assert concept.licence in ("MIT", "CC-BY-4.0") and concept.attribution


@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda concept: concept.name)
def test_a_concept_is_held_out_and_its_class_word_is_known(concept):
    held_out = (*v.HELD_OUT_NOUNS, *v.HELD_OUT_PEOPLE, *v.HELD_OUT_STYLES, *v.HELD_OUT_RELATIONS)
    assert concept.true_name in held_out
    assert concept.noun in (*v.CLASS_WORDS, *v.PERSON_WORDS, "style", "relation")


@pytest.mark.parametrize("kind", ["object", "live", "person", "style", "relation"])
def test_no_prompt_shows_a_background_of_the_references(kind):
    for prompt in prompts.for_kind(kind):
        assert prompt.background not in prompts.REFERENCE_BACKGROUNDS
        assert prompt.template.count("{}") == 1
        assert v.place(prompt.background) in prompt.template


def test_unknown_names_say_what_there_is():
    with pytest.raises(PersonaError, match="flamingo"):
        toybox.concept("unheard-of")
    with pytest.raises(PersonaError, match="object"):
        prompts.for_kind("weather")
