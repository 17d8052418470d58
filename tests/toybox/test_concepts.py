"""The held-out concepts that ship with the package."""

import numpy as np
import pytest
from PIL import Image

from diffusers_persona import toybox
from diffusers_persona.errors import PersonaError
from diffusers_persona.toybox import held_out, prompts
from diffusers_persona.toybox import vocabulary as v

CONCEPTS = toybox.concepts()


def test_objects_people_styles_and_relations_ship():
    kinds = [concept.kind for concept in CONCEPTS]
    assert len(CONCEPTS) >= 12
    assert kinds.count("live") + kinds.count("object") >= 7
    assert min(kinds.count(kind) for kind in held_out.KINDS if kind not in ("live", "object")) >= 4


@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda concept: concept.name)
def test_a_concept_is_complete(concept):
    count = {"stylised": 1, "pair": 2, "merged": 0, "portrait": 0}.get(concept.kind, 5)
    assert len(concept.references) == len(concept.masks) == len(concept.captions) == count
    assert len(set(concept.training_backgrounds)) == count
    assert all(len(masks) == count for masks in concept.part_masks if masks)
    assert len(concept.oracle) == len(prompts.for_kind(concept.kind))
    for path in (*concept.references, *concept.masks, *concept.oracle):
        with Image.open(path) as image:
            assert image.size == (64, 64)
    assert concept.licence in ("MIT", "CC-BY-4.0") and concept.attribution


@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda concept: concept.name)
def test_a_concept_is_held_out_and_its_class_word_is_known(concept):
    held_out = (*v.HELD_OUT_NOUNS, *v.HELD_OUT_PEOPLE, *v.HELD_OUT_STYLES, *v.HELD_OUT_RELATIONS)
    unseen = (*v.UNSEEN_STYLES, *v.UNSEEN_RELATIONS)
    known = (*v.CLASS_WORDS, *v.PERSON_WORDS, "style", "and")
    for thing in concept.things or (concept,):
        content = concept.kind == "pair" and thing.kind != "style"
        assert thing.true_name in (v.NOUNS if content else (*held_out, *unseen))
        assert thing.noun in known or content


@pytest.mark.parametrize("kind", ["several", "stylised", "pair", "merged", "portrait"])
def test_things_of_a_concept_are_scored_by_pictures_that_show_them_alone(kind):
    for concept in toybox.concepts(kind):
        assert concept.noun == " and ".join(thing.noun for thing in concept.things)
        assert len({thing.noun for thing in concept.things}) == 2
        assert all(thing.references for thing in concept.things)


def test_the_masks_of_two_things_do_not_overlap():
    for concept in toybox.concepts("several"):
        for masks in zip(*concept.part_masks, strict=True):
            first, second = (np.asarray(Image.open(path)) > 127 for path in masks)
            assert first.sum() > 100 < second.sum() and not (first & second).any()


@pytest.mark.parametrize("kind", held_out.KINDS)
def test_no_prompt_shows_a_background_of_the_references(kind):
    for prompt in prompts.for_kind(kind):
        assert prompt.background not in prompts.REFERENCE_BACKGROUNDS
        assert prompt.template.count("{}") == 1 or "{0}" in prompt.template or "{1}" in prompt.template
        assert v.place(prompt.background) in prompt.template


def test_unknown_names_say_what_there_is():
    with pytest.raises(PersonaError, match="flamingo"):
        toybox.concept("unheard-of")
    with pytest.raises(PersonaError, match="object"):
        prompts.for_kind("weather")
