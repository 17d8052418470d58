"""Search without gradients: CMA-ES, the coordinates that it moves in, and the start that a CLIP gives it."""

import pytest
import torch

from diffusers_persona import PersonaError, inversion, losses, spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional import evolution
from diffusers_persona.functional.initialisation import attended_embedding, principal_map


def searched(loss, mean, *, sigma=0.5, population=12, generations=120):
    state, random = evolution.begin(mean, sigma), torch.Generator().manual_seed(0)
    constants = evolution.Constants.of(len(mean), population)
    for _ in range(generations):
        tried = evolution.candidates(state, torch.randn(population, len(mean), generator=random))
        state = evolution.advanced(state, tried, loss(tried), constants)
    return state


@pytest.mark.evidence(level="parity", recipe="gradient-free-ti")
def test_the_constants_are_those_of_the_tutorial():
    """n = 10 and 10 candidates: table 1 of arXiv 1604.00772, computed by hand."""
    k = evolution.Constants.of(10, 10)
    assert k.weights.tolist() == pytest.approx([0.4563, 0.2707, 0.1622, 0.0852, 0.0255], abs=1e-3)
    assert k.mueff == pytest.approx(3.1673, abs=1e-3)
    assert k.csigma == pytest.approx((3.1673 + 2) / (10 + 3.1673 + 5), abs=1e-4)
    assert k.c1 == pytest.approx(2 / (11.3**2 + 3.1673), abs=1e-5)
    assert k.chi == pytest.approx(3.0847, abs=1e-3)


@pytest.mark.evidence(level="parity", recipe="gradient-free-ti")
def test_it_finds_the_minimum_of_a_stretched_bowl_and_learns_its_shape():
    stretch = torch.tensor([1.0, 4.0, 16.0, 64.0], dtype=torch.float64)
    state = searched(lambda x: ((x - 1.0) ** 2 * stretch).sum(1), torch.zeros(4))
    assert torch.allclose(state["mean"], torch.ones(4, dtype=torch.float64), atol=1e-4)
    variances = state["covariance"].diagonal()
    assert variances[0] > 4 * variances[3]


@pytest.mark.evidence(level="parity", recipe="gradient-free-ti")
def test_pictures_attend_over_sentences_and_read_the_class_words():
    images, sentences = torch.tensor([[1.0, 0.0]]), torch.eye(2)
    tokens = torch.tensor([[4.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    weights = torch.tensor([1.0, 0.0]).softmax(0)
    expected = torch.nn.functional.normalize(weights @ tokens, dim=0)
    assert torch.allclose(attended_embedding(images, sentences, tokens), expected)
    assert torch.allclose(attended_embedding(images, sentences, tokens, 50.0), torch.tensor([1.0, 0.0, 0.0]))


@pytest.mark.evidence(level="parity", recipe="gradient-free-ti")
def test_principal_directions_are_as_long_as_the_table_spreads():
    table = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1.0, 0.1])
    directions = principal_map(table, 2)
    assert directions.norm(dim=1).tolist() == pytest.approx([3.0, 1.0], rel=0.05)


@pytest.mark.evidence(level="parity", recipe="gradient-free-ti")
def test_learning_needs_no_gradient_and_ends_in_a_plain_word(pipe, learned, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "backward", lambda *a, **k: pytest.fail("a gradient was computed"))
    concept = learned(pipe, "gradient-free-ti", steps=2, population=4, dimensions=4)
    tensors = concept.tensors_of(0)
    assert concept.spaces == [spaces.Word(token="<dog>")]
    assert not torch.equal(tensors["text_encoder.embedding"], tensors["text_encoder.initial"])


def test_two_concepts_are_searched_side_by_side_as_each_alone(pipe, pictures):
    from diffusers_persona import learn, learn_many

    options = dict(steps=2, population=4, dimensions=4, batch_size=1, progress=False)
    alone = learn(pipe, pictures[:2], "gradient-free-ti", token="<a>", noun="dog", **options)
    both = learn_many(pipe, {"a": pictures[:2], "b": pictures[2:]}, "gradient-free-ti", noun="dog", **options)
    found = [concept.tensors_of(0)["text_encoder.embedding"] for concept in (alone, both[0])]
    assert torch.allclose(*found, atol=1e-5)


def test_all_candidates_of_a_generation_see_the_same_noise(pipe, pictures):
    from diffusers_persona import learn
    from diffusers_persona.recipe import Recipe, get

    seen = []

    class Spy(losses.Denoising):
        def __call__(self, step):
            seen.append(float(step.noise.sum()))
            return super().__call__(step)

    declared = get("gradient-free-ti").build(dimensions=4, nouns="toybox")
    method = inversion.Search(steps=2, population=4, losses=[Spy()])
    recipe = Recipe(space=declared.space, method=method, scheme=declared.scheme, data=declared.data)
    learn(pipe, pictures, recipe, noun="dog", progress=False)
    assert len(seen) == 8 and len(set(seen[:4])) == 1 == len(set(seen[4:])) and seen[0] != seen[4]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: inversion.Search(steps=1, losses=[losses.Denoising()], population=2), "at least 4 candidates"),
        (lambda: inversion.Search(steps=1, losses=[losses.Denoising()], ema=0.9), "a search has no phases"),
        (lambda: spaces.SearchedWord(projection="random"), "one of principal, nouns, normal"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(PersonaError, match=message):
        make()


def test_the_projections_keep_the_scale_of_the_token_table(pipe, pictures):
    from diffusers_persona.inversion.images import load_images

    subject = spaces.Subject(token="<x>", noun="dog", pictures=load_images(pictures), resolution=32)
    host = of(pipe)
    table = pipe.text_encoder.get_input_embeddings().weight
    for projection in ("principal", "normal"):
        space = spaces.SearchedWord(dimensions=32, projection=projection, nouns="toybox")
        found = space._map(host, "text_encoder", subject.seed)
        spread = found.pow(2).sum(0).mean().sqrt()
        assert float(spread) == pytest.approx(float(table.std()), rel=0.3)
