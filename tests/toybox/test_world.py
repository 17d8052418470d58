"""The world's words, captions, tokenizer and renderer."""

import random

import pytest
from PIL import Image, ImageChops

from diffusers_persona.errors import PersonaError
from diffusers_persona.toybox import vocabulary as v
from diffusers_persona.toybox.captions import parse, with_empty_words
from diffusers_persona.toybox.pipeline import MODELS
from diffusers_persona.toybox.styles import apply_style
from diffusers_persona.toybox.tokenizer import world_words
from diffusers_persona.toybox.world import World, build_folder, sample_description


@pytest.fixture(scope="module")
def world():
    if not (build_folder() / "art" / "art.json").is_file():
        pytest.skip(f"no toybox art in {build_folder()}: run `python -m diffusers_persona.toybox.build --stage art`")
    return World.open(build_folder() / "art")


def test_the_world_holds_out_nouns_people_styles_and_relations():
    assert 60 <= len(v.NOUNS) <= 150 and len(v.HELD_OUT_NOUNS) >= 30
    assert len(v.PEOPLE) >= 50 and len(v.HELD_OUT_PEOPLE) >= 10
    assert len(v.SCENES) == 10 and len(v.COLOURS) == 11
    assert len(v.RELATIONS) >= 4 and len(v.HELD_OUT_RELATIONS) >= 2 and len(v.HELD_OUT_STYLES) >= 2
    assert not set(v.NOUNS) & set(v.HELD_OUT_NOUNS) and not set(v.PEOPLE) & set(v.HELD_OUT_PEOPLE)
    assert set(v.HELD_OUT_NOUNS.values()) <= set(v.CLASS_WORDS)


@pytest.mark.parametrize("held_out", [False, True])
def test_every_description_survives_its_caption(held_out):
    rng = random.Random(0)
    for _ in range(300):
        description = sample_description(rng, held_out)
        caption = description.caption(medium=rng.choice((None, "photo")), style_last=rng.random() < 0.5)
        assert parse(caption) == description, caption


def test_empty_words_change_no_description():
    rng = random.Random(0)
    plain = "a red cat next to a cup in the snow"
    wordings = {with_empty_words(plain, rng, share=1.0) for _ in range(50)}
    assert len(wordings) > 20 and all(wording.endswith("cup in the snow") for wording in wordings)
    assert with_empty_words("a neon of a cat", rng, share=1.0) == "a neon of a cat"


def test_a_caption_outside_the_grammar_is_an_error_that_quotes_it():
    with pytest.raises(PersonaError, match="a flying carpet"):
        parse("a flying carpet on the beach")
    with pytest.raises(PersonaError, match="with wings"):
        parse("Anna Smith with wings")


def test_every_world_word_is_one_token_and_special_tokens_are_last():
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(MODELS / "pipeline" / "tokenizer")
    split = [word for word in world_words() if len(tokenizer.tokenize(word)) != 1]
    assert not split
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (len(tokenizer) - 2, len(tokenizer) - 1)
    assert tokenizer.model_max_length == 32
    assert len(tokenizer.tokenize("xylophone")) > 1


@pytest.mark.parametrize("style", [*v.STYLES, *v.HELD_OUT_STYLES])
def test_a_style_changes_a_picture_and_always_in_the_same_way(style):
    picture = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    styled = apply_style(picture, style)
    assert styled.size == (64, 64) and styled.mode == "RGB"
    assert ImageChops.difference(picture, styled).getbbox()
    assert styled.tobytes() == apply_style(picture, style).tobytes()


def test_rendering_is_a_function_of_caption_and_seed(world):
    caption = "a hedgehog next to a red teapot on the beach"
    first, again = world.render(caption, seed=3), world.render(caption, seed=3)
    assert first.image.tobytes() == again.image.tobytes() and first.mask.tobytes() == again.mask.tobytes()
    assert first.labels["noun"] == "hedgehog" and first.labels["second_noun"] == "teapot"
    assert first.labels["background"] == "beach" and first.caption == caption


def test_sampling_depends_on_the_random_numbers_alone(world):
    one, two = (world.sample(random.Random(7)) for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes() and one.caption == two.caption
    assert one.image.size == one.mask.size == (64, 64)


def test_a_class_word_draws_a_trained_noun_of_that_class(world):
    nouns = {world.render("an animal", seed).labels["noun"] for seed in range(10)}
    assert len(nouns) > 1 and {v.NOUNS[noun] for noun in nouns} == {"animal"}


def test_a_person_is_drawn_with_what_the_caption_says(world):
    labels = world.render("Diana Evans smiling wearing glasses on a red background", 0).labels
    assert (labels["person"], labels["mouth"], labels["eyes"]) == ("Diana Evans", "smiling", "glasses")
    assert world.render("a man with red hair", 1).labels["hair"] == "red"
