"""Steering of new words: towards prepositions (ReVersion), away from a spare word (BRAT)."""

import math

import pytest
import torch

from diffusers_persona import PersonaError, losses
from diffusers_persona.functional.contrastive import squared_cosine, steering
from diffusers_persona.inversion.vocabulary import FUNCTION_WORDS, PREPOSITIONS
from diffusers_persona.losses.contrastive import _content, _whole_words

EAST, NORTH = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])


@pytest.mark.evidence(level="parity", recipe="reversion")
def test_steering_is_the_part_of_the_similarity_that_falls_on_the_positives():
    """-log(e^(1/T) / (e^(1/T) + 1)) for a vector along the positive and across the negative, of any length."""
    for temperature in (1.0, 0.07):
        expected = math.log1p(math.exp(-1 / temperature))
        assert steering(EAST, 5 * EAST, NORTH, temperature) == pytest.approx(expected, abs=1e-6)
    several = torch.cat([EAST, NORTH])
    assert steering(EAST, several, EAST, 1.0) == pytest.approx(math.log((2 * math.e + 1) / (math.e + 1)), abs=1e-6)


def test_without_negatives_there_is_nothing_to_steer_from():
    assert steering(EAST, NORTH, EAST[:0], 0.07) == 0


def test_prepositions_and_words_that_name_nothing_are_not_pushed_away(pipe):
    def ids(words):
        return pipe.tokenizer(words, add_special_tokens=False)["input_ids"]

    found = _content(pipe.tokenizer, "A photo of the red cat <r> dog, on", {*PREPOSITIONS, *FUNCTION_WORDS}, ["<r>"])
    assert found == ids("photo red cat dog")


def test_words_that_the_tokenizer_splits_are_left_out(pipe):
    assert _whole_words(pipe.tokenizer, ("in", "underneath", "on")) == pipe.tokenizer("in on")["input_ids"][1:-1]


@pytest.mark.evidence(level="parity", recipe="reversion")
def test_steering_alone_turns_a_word_towards_the_prepositions(pipe, learned):
    concept = learned(pipe, "reversion", token="<r>", steering=100.0, steps=8, lr=5e-2, accumulation=1)
    tensors = concept.tensors_of(0)
    table = pipe.text_encoder.get_input_embeddings().weight
    rows = table[_whole_words(pipe.tokenizer, PREPOSITIONS)].detach()

    def nearness(vector):
        return torch.cosine_similarity(vector, rows).mean()

    assert nearness(tensors["text_encoder.embedding"]) > nearness(tensors["text_encoder.initial"]) + 0.05


def test_a_steering_without_words_is_refused():
    with pytest.raises(PersonaError, match="words="):
        losses.WordSteering(words=())


@pytest.mark.evidence(level="parity", recipe="brat")
def test_the_squared_cosine_is_zero_for_orthogonal_vectors_and_a_half_at_45_degrees():
    assert squared_cosine(EAST, NORTH) == 0
    assert squared_cosine(EAST, EAST + NORTH / 1.5) == pytest.approx(0.5)
    assert squared_cosine(EAST, torch.cat([NORTH, -EAST])) == pytest.approx(0.5)


@pytest.mark.evidence(level="parity", recipe="brat")
def test_a_spare_word_learns_to_be_orthogonal(pipe, learned):
    concept = learned(pipe, "brat", orthogonality=1000.0, steps=8, lr=5e-2, vectors=1)
    words = [concept.tensors_of(i)["text_encoder.embedding"] for i in (0, 1)]
    assert squared_cosine(*words) < 0.9
    assert [space.token for space in concept.spaces] == ["<dog>", "<dog-spare>"]
    assert concept.phrase == "<dog>"


def test_the_spare_word_ends_every_prompt_whoever_wrote_it(pipe, learned, monkeypatch):
    from diffusers_persona.training.examples import TextConditions

    seen, of = set(), TextConditions.of
    monkeypatch.setattr(TextConditions, "of", lambda self, prompts: seen.update(prompts) or of(self, prompts))
    learned(pipe, "brat", templates=("a {phrase} on the beach",), steps=1)
    assert seen == {"a <dog> on the beach, <dog-spare>"}


def test_one_word_alone_has_nothing_to_be_orthogonal_to(pipe, learned):
    from diffusers_persona import inversion, learn, schemes, spaces
    from diffusers_persona.recipe import Recipe
    from diffusers_persona.testing import tiny_pictures

    alone = Recipe(
        space=[spaces.Word()],
        method=inversion.Optimization(steps=1, lr=1e-2, losses=[losses.Orthogonality()]),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed()),
    )
    with pytest.raises(PersonaError, match="at least two"):
        learn(pipe, tiny_pictures(1), alone, noun="dog", progress=False)
