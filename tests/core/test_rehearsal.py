"""Runs before the run: a choice among seeds (Inspiration Tree), and pictures of a first concept (U-VAP)."""

import pytest
import torch

from diffusers_persona import PersonaError, inversion, learn, learn_many, schemes
from diffusers_persona.functional.consistency import mean_cosine, most_alike, two_word_score
from diffusers_persona.testing import tiny_pictures


@pytest.mark.evidence(level="parity", recipe="inspiration-tree")
def test_two_words_score_by_likeness_within_and_difference_between():
    east, north = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 1.0]])
    assert mean_cosine(east) == pytest.approx(1.0)
    assert two_word_score(east, north) == pytest.approx(1 + 1 + (1 - 0))
    assert two_word_score(east, east) == pytest.approx(1 + 1 + (1 - 1))
    mixed = torch.cat([east[:1], north[:1]])
    assert two_word_score(mixed, north) == pytest.approx(0 + 1 + (0 - 0.5))


@pytest.mark.evidence(level="parity", recipe="inspiration-tree")
def test_the_run_goes_on_from_one_of_the_seeds_as_if_it_had_begun_with_it(pipe, learned):
    small = dict(seed_steps=2, pictures=2, sampling_steps=1, seeds=2)
    concept = learned(pipe, "inspiration-tree", seed=5, **small)
    chosen = concept.header["training"]["chosen_seed"]
    assert concept.header["training"]["seed"] == 5
    assert chosen in inversion.rehearsal.SeedChoice(count=2).seeds(5)
    words = [space.token for space in concept.spaces]
    assert words == ["<dog>", "<dog-right>"]
    assert concept.phrase == "<dog> <dog-right>"


@pytest.mark.evidence(level="parity", recipe="inspiration-tree")
def test_a_child_learns_from_the_pictures_of_one_word_that_are_most_alike(pipe, learned):
    crowd = torch.tensor([[1.0, 0.1], [0.0, 1.0], [2.0, 0.0], [1.0, -0.1]])
    assert most_alike(crowd, 3) == [0, 2, 3]
    concept = learned(pipe, "brat", steps=1)
    pictures = schemes.branch(pipe, concept, "<dog-spare>", made=3, keep=2, steps=1)
    assert [picture.size for picture in pictures] == [(32, 32)] * 2
    with pytest.raises(PersonaError, match="<dog-spare>"):
        schemes.branch(pipe, concept, "<cat>")


def test_several_concepts_with_a_run_before_the_run_take_turns(pipe, tmp_path):
    pictures = tiny_pictures(2)
    small = dict(steps=1, batch_size=1, seed_steps=1, pictures=2, sampling_steps=1, seeds=2, progress=False)
    both = learn_many(pipe, {"<a>": pictures, "<b>": pictures}, "inspiration-tree", noun="dog", **small)
    assert [concept.token for concept in both] == ["<a>", "<b>"]


def test_a_choice_needs_two_words():
    with pytest.raises(PersonaError, match="at least 2"):
        inversion.rehearsal.SeedChoice(count=1)


UVAP = dict(
    whole="a {1} on {0}",
    target=("a {1} on the beach",),
    other=("a photo of {0}", "a painting of {0}"),
    pictures=2,
    keep=1,
    sampling_steps=1,
    steps=1,
    batch_size=1,
    progress=False,
)


@pytest.mark.evidence(level="parity", recipe="u-vap")
def test_the_second_stage_learns_from_pictures_of_the_first(pipe, monkeypatch):
    """As many as are kept of each prompt; each is learned by its own prompt, with the new words."""
    from diffusers_persona.training.examples import Source

    seen, begin = [], Source.__init__

    def note(self, host, pictures, choose_prompt, **options):
        begin(self, host, pictures, choose_prompt, **options)
        seen.append([choose_prompt(example, torch.Generator()) for example in pictures])

    monkeypatch.setattr(Source, "__init__", note)
    learn(pipe, tiny_pictures(1), "u-vap", token="<cat> <dog>", noun="cat and dog", **UVAP)
    first, second = seen
    assert first == ["a ktn dog on sks cat"]
    assert second == ["a <dog> on the beach", "a photo of <cat>", "a painting of <cat>"]


@pytest.mark.evidence(level="parity", recipe="u-vap")
def test_in_use_each_word_is_moved_away_from_the_other(pipe):
    """Semantic adjustment: e + w (e - e')."""
    raw, moved = (
        learn(pipe, tiny_pictures(1), "u-vap", token="<cat> <dog>", noun="cat and dog", away=away, **UVAP)
        for away in (0.0, 0.5)
    )
    cat, dog = (raw.tensors_of(i)["text_encoder.embedding"] for i in (0, 1))
    assert torch.allclose(moved.tensors_of(0)["text_encoder.embedding"], cat + 0.5 * (cat - dog), atol=1e-5)
    assert torch.allclose(moved.tensors_of(1)["text_encoder.embedding"], dog + 0.5 * (dog - cat), atol=1e-5)
    assert moved.spaces[0].kind == "word"
