"""The scorer on real instrument classes with random weights."""

import pytest
from PIL import Image
from tiny_bench import tiny_host

from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation.metrics import Expectation
from diffusers_persona.evaluation.scorer import Scorer


def pictures(concept):
    return [Image.open(path).convert("RGB") for path in concept.references]


def test_the_scorer_gives_each_picture_what_its_prompt_asks():
    host = tiny_host()
    images = pictures(host.concepts[0])
    scorer = Scorer(host.instruments, images, kind="object", label=("noun", "poodle"))
    plain, styled, both = scorer.score(
        images,
        [
            Expectation(text="a dog"),
            Expectation(text="a sketch of a dog", style="sketch"),
            Expectation(text="a dog and a car", background="beach", second_noun="car", attribute="smiling"),
        ],
    )
    assert "obedience" not in plain and {"dino_i", "clip_i", "clip_t", "dino_i_masked", "recognised"} <= set(plain)
    assert styled["obedience"] == styled["style"]
    assert both["obedience"] == pytest.approx((both["background"] + both["second_object"] + both["attribute"]) / 3)
    assert "id" not in plain


def test_identity_is_scored_for_people_alone():
    host = tiny_host()
    person = pictures(host.concepts[1])
    (score,) = Scorer(host.instruments, person, kind="person").score(person[:1], [Expectation(text="a person")])
    assert -1 <= score["id"] <= 1 and "recognised" not in score


def test_references_score_as_the_mean_cosine_to_all_of_them():
    host = tiny_host()
    images = pictures(host.concepts[0])
    embedded = host.instruments.dino(images)
    expected = (embedded @ embedded.T).mean(dim=1)
    scores = Scorer(host.instruments, images, kind="object").score(images, [Expectation(text="a dog")] * 3)
    assert [score["dino_i"] for score in scores] == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_scorer_refuses_to_score_against_nothing():
    with pytest.raises(PersonaError, match="reference pictures"):
        Scorer(tiny_host().instruments, [], kind="object")
    scorer = Scorer(tiny_host().instruments, pictures(tiny_host().concepts[0]), kind="object")
    with pytest.raises(PersonaError, match="2 pictures but 1 expectations"):
        scorer.score([Image.new("RGB", (64, 64))] * 2, [Expectation(text="a dog")])


def test_a_learned_style_is_asked_for_its_content():
    host = tiny_host()
    scorer = Scorer(host.instruments, pictures(host.concepts[0]), kind="style")
    scores = scorer.score(pictures(host.concepts[0]), [Expectation(text="a style of a cat", noun="cat")] * 3)
    assert {score["content"] for score in scores} <= {0.0, 1.0}
