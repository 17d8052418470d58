"""The prompts of a concept."""

import pytest
import torch

from diffusers_persona.errors import PersonaError
from diffusers_persona.inversion import prompts
from diffusers_persona.inversion.images import Example

from .hostile import picture


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def example(caption=None):
    return Example(image=picture(), caption=caption, source="dog.png")


def test_textual_inversion_has_27_object_and_17_style_templates():
    assert len(set(prompts.OBJECT_TEMPLATES)) == 27
    assert len(set(prompts.STYLE_TEMPLATES)) == 17
    assert all("in the style of {phrase}" in template for template in prompts.STYLE_TEMPLATES)


@pytest.mark.parametrize("kind", prompts.KINDS)
def test_every_kind_has_neutral_prompts_and_pick_draws_each_of_them(kind):
    neutral = prompts.Neutral()
    every = neutral.every(kind, "<toy>")
    assert len(every) == len(set(every)) >= 15
    assert all(prompt.count("<toy>") == 1 and "{" not in prompt for prompt in every)
    source = generator()
    assert {neutral.pick(kind, "<toy>", None, source) for _ in range(1000)} == set(every)


def test_living_things_and_people_are_not_called_dirty_or_weird():
    for kind in ("live", "person"):
        assert not any("dirty" in text or "weird" in text for text in prompts.Neutral().every(kind, "<toy>"))


def test_picks_follow_their_generator_alone():
    def picks(seed):
        source = generator(seed)
        return [prompts.Neutral().pick("object", "<toy>", None, source) for _ in range(20)]

    torch.manual_seed(1)
    first = picks(0)
    torch.manual_seed(2)
    assert picks(0) == first != picks(1)


def test_templates_can_be_replaced_in_the_declaration_and_for_a_call():
    own = prompts.Neutral(["a {phrase} of a cat"])
    assert own == prompts.Neutral(("a {phrase} of a cat",)) and hash(own)
    assert own.every("style", "<sketch>") == ["a <sketch> of a cat"]
    assert own.every("style", "<sketch>", templates=["a {} of a dog"]) == ["a <sketch> of a dog"]
    assert own.pick("style", "<sketch>", None, generator(), templates=["a {} of a dog"]) == "a <sketch> of a dog"
    assert eval(repr(own), vars(prompts)) == own


@pytest.mark.parametrize("template", ["no slot", "{} and {phrase}", "{phrase.__class__}", "", 3])
def test_a_template_without_exactly_one_slot_is_refused(template):
    with pytest.raises(PersonaError, match="exactly once"):
        prompts.Neutral([template])
    with pytest.raises(PersonaError, match="exactly once"):
        prompts.Fixed(template)


def test_templates_are_a_list_that_is_not_empty():
    for templates in ("a {phrase}", [], ()):
        with pytest.raises(PersonaError, match="a list of texts"):
            prompts.Neutral(templates)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(PersonaError, match="object, live, person, style"):
        prompts.Neutral().every("animal", "<toy>")


def test_a_fixed_prompt_is_always_the_same():
    fixed = prompts.Fixed("photo of a {phrase}")
    assert fixed.pick("object", "sks dog", None, generator()) == "photo of a sks dog"
    assert fixed.every("object", "sks dog") == ["photo of a sks dog"]
    assert fixed.every("object", "sks dog", templates=["{} 1", "{} 2"]) == ["sks dog 1", "sks dog 2"]


@pytest.mark.parametrize(
    ("template", "phrase", "prompt"),
    [
        ("a {phrase}", "animal", "an animal"),
        ("A {} at sea", "orange dog", "An orange dog at sea"),
        ("a photo of a {}", "<toy>", "a photo of a <toy>"),
        ("the {}", "animal", "the animal"),
        ("a {}", "umbrella", "an umbrella"),
        ("a {}", "unicorn", "a unicorn"),
        ("extra {}", "animal", "extra animal"),
        ("a {phrase}", r"\1 {phrase}", r"a \1 {phrase}"),
    ],
)
def test_filling_minds_the_article(template, phrase, prompt):
    assert prompts.fill(template, phrase) == prompt


@pytest.mark.parametrize(
    ("caption", "prompt"),
    [
        ("a photo of {} asleep", "a photo of sks dog asleep"),
        ("a {phrase} on grass", "a sks dog on grass"),
        ("a dog beside another dog", "a sks dog beside another dog"),
        ("The Dog runs", "The sks dog runs"),
        ("my sks dog on grass", "my sks dog on grass"),
        ("a hot-dog and a dog", "a hot-sks dog and a dog"),
    ],
)
def test_captions_name_the_concept_in_the_place_of_slot_or_noun(caption, prompt):
    assert prompts.Captions().pick("live", "sks dog", example(caption), noun="dog") == prompt


def test_the_article_follows_the_phrase_when_the_noun_is_replaced():
    text = prompts.Captions().pick("live", "<toy>", example("an animal on the beach"), noun="animal")
    assert text == "a <toy> on the beach"
    assert prompts.Captions().pick("live", "old dog", example("a dog"), noun="dog") == "an old dog"


def test_a_caption_about_something_else_is_refused_with_its_file():
    with pytest.raises(PersonaError, match='dog.png names neither "dog" nor "{}"'):
        prompts.Captions().pick("live", "sks dog", example("hotdogs on a plate"), noun="dog")


def test_a_picture_without_a_caption_is_refused_unless_a_template_serves():
    with pytest.raises(PersonaError, match="dog.png has no caption"):
        prompts.Captions().every("live", "sks dog", [example("a {}"), example()])
    captions = prompts.Captions(template="a photo of a {phrase}")
    assert captions.every("live", "sks dog", [example("a {}"), example()]) == ["a sks dog", "a photo of a sks dog"]
    assert captions.pick("live", "sks dog", example(), generator()) == "a photo of a sks dog"


def test_whatever_is_picked_was_listed_for_caching():
    source, pictures = generator(), [example("a {}"), example("my dog"), example()]
    for declared in (prompts.Neutral(), prompts.Fixed(), prompts.Captions("one {}")):
        for templates in (None, ["x {}", "y {}"]):
            options = {"noun": "dog", "templates": templates}
            every = declared.every("live", "sks dog", pictures, **options)
            for _ in range(20):
                for picture_ in pictures:
                    assert declared.pick("live", "sks dog", picture_, source, **options) in every
