"""The Toybox as the world of the benchmark."""

import pytest

from diffusers_persona import toybox
from diffusers_persona.evaluation import making
from diffusers_persona.evaluation.host import toybox_expectation, toybox_host
from diffusers_persona.toybox import prompts

CONCEPTS = {concept.name: concept for concept in toybox.concepts()}


def expectation(name, index):
    concept = CONCEPTS[name]
    return toybox_expectation(concept, prompts.for_kind(concept.kind)[index])


def test_every_benchmark_concept_has_a_rendering_of_each_prompt():
    for concept in toybox.concepts():
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


def test_of_a_relation_its_lie_is_asked_and_which_thing_comes_first():
    assert expectation("behind", 0).relation == ("in front of", "bucket")
    assert expectation("above", 0).relation == ("on top of", "cat")
    assert expectation("above", 0).text == "a cat and a bucket in the snow"


def test_of_several_things_those_that_the_prompt_names_are_asked():
    alone, both = expectation("hedgehog-and-cupcake", 1), expectation("hedgehog-and-cupcake", 6)
    assert alone.text == "a food in the city" and alone.things == (1,)
    assert both.text == "an animal next to a food at sunset" and both.things == (0, 1)


def test_in_a_style_that_the_classifiers_never_saw_only_what_they_can_read_is_asked():
    asked = [expectation("sepia", index) for index in range(len(prompts.for_kind("style")))]
    assert any(each.background is None for each in asked) and any(each.noun for each in asked)
    assert all(expectation("mosaic", index).background for index in range(len(asked)))


def test_plain_pictures_are_no_style_and_pictures_of_one_style_are_alike():
    host = toybox_host()
    concept = host.concept("sepia")
    references = [making.open_picture(path) for path in concept.references]
    scorer = host.scorer(concept, [references])
    asked = [expectation("sepia", 0)] * 5
    plain = [making.open_picture(path) for path in host.concept("hedgehog").references]
    assert min(row["fidelity"] for row in scorer.score(references, asked)) > 0.5
    assert max(row["fidelity"] for row in scorer.score(plain, asked)) < 0.5


def test_a_concept_with_fewer_pictures_is_that_concept():
    one, all_ = toybox_host().concept("hedgehog-and-cupcake@1"), CONCEPTS["hedgehog-and-cupcake"]
    assert one.references == all_.references[:1] and [len(masks) for masks in one.part_masks] == [1, 1]
    assert one.training_backgrounds == all_.training_backgrounds[:1] and one.oracle == all_.oracle
