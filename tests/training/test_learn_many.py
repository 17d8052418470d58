"""Several concepts in one run: each is what it would be alone."""

import pytest
import torch

from diffusers_persona import Concept, PersonaError, learn, learn_many, recipes
from diffusers_persona.backbones import Backbone
from diffusers_persona.testing import tiny_pictures, tiny_pipeline

OPTIONS = dict(steps=4, batch_size=2, lr=2e-2, progress=False)
NOUNS = {"<toy>": "thing", "<pet>": "cat", "<place>": "beach"}


@pytest.fixture
def sets():
    return {name: tiny_pictures(2 + n, seed=n) for n, name in enumerate(NOUNS)}


def apart(one, other):
    assert one.tensors.keys() == other.tensors.keys()
    return max(float((tensor - other.tensors[key]).abs().max()) for key, tensor in one.tensors.items())


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_words_learned_in_one_run_are_what_each_is_alone(sets, family):
    together = learn_many(tiny_pipeline(family), sets, "textual-inversion", noun=NOUNS, **OPTIONS)
    for concept, (token, images) in zip(together, sets.items()):
        alone = learn(tiny_pipeline(family), images, "textual-inversion", token=token, noun=NOUNS[token], **OPTIONS)
        assert apart(concept, alone) < 1e-4
        assert (concept.token, concept.noun) == (alone.token, alone.noun) == (token, NOUNS[token])
        curves = [c.header["training"]["loss_curve"] for c in (concept, alone)]
        assert torch.allclose(*map(torch.tensor, curves), atol=1e-4)


def test_words_share_each_forward_pass(pipe, sets, monkeypatch):
    from diffusers_persona.backbones import StableDiffusion

    rows, original = [], StableDiffusion.denoise
    monkeypatch.setattr(
        StableDiffusion, "denoise", lambda self, noisy, *rest: rows.append(len(noisy)) or original(self, noisy, *rest)
    )
    learn_many(pipe, sets, "textual-inversion", noun=NOUNS, **OPTIONS)
    assert rows == [6] * 4


def test_a_run_of_many_goes_on_where_it_stopped(pipe, sets, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, loss):
        if done == 2:
            raise Stop

    options = OPTIONS | {"noun": NOUNS, "output": tmp_path / "run", "checkpoint_every": 1}
    whole = learn_many(pipe, sets, "textual-inversion", noun=NOUNS, **OPTIONS)
    with pytest.raises(Stop):
        learn_many(pipe, sets, "textual-inversion", callback=stop, **options)
    resumed = learn_many(pipe, sets, "textual-inversion", resume=True, **options)
    again = learn_many(pipe, sets, "textual-inversion", resume=True, **options)
    saved = [Concept.from_pretrained(tmp_path / "run" / name) for name in ("toy", "pet", "place")]
    for concepts in zip(whole, resumed, again, saved):
        assert len({concept.digest for concept in concepts}) == 1
    with pytest.raises(PersonaError, match="holds a run already"):
        learn_many(pipe, sets, "textual-inversion", **options)


@pytest.mark.parametrize("recipe", ["lora", "custom-diffusion"])
def test_recipes_that_change_weights_take_turns_and_share_the_class_pictures(pipe, sets, tmp_path, recipe, cache):
    numbers = {k: v for k, v in {**OPTIONS, "prior_count": 2}.items() if k in recipes.get(recipe).defaults}
    options = numbers | {"noun": "dog", "progress": False}
    together = learn_many(pipe, sets, recipe, output=tmp_path / "run", **options)
    assert len(list(cache.rglob("*.png"))) in (0, 2)
    for concept, (name, images) in zip(together, sets.items()):
        assert concept.digest == learn(pipe, images, recipe, token=concept.token, **options).digest
        assert Concept.from_pretrained(tmp_path / "run" / name.strip("<>")).digest == concept.digest


def test_a_loss_that_is_no_number_names_its_concept(pipe, sets, monkeypatch):
    broken = Backbone.encode_images
    pictures = iter(range(9))

    def encode(self, pixels):
        mean, deviation = broken(self, pixels)
        return (mean * float("nan") if next(pictures) == 1 else mean), deviation

    monkeypatch.setattr(Backbone, "encode_images", encode)
    with pytest.raises(PersonaError, match="'<pet>': nan"):
        learn_many(pipe, sets, "textual-inversion", noun=NOUNS, **OPTIONS)


@pytest.mark.parametrize(
    ("sets", "options", "message"),
    [
        ({}, {}, "no concept"),
        ({"a": 1}, {"token": "<a>"}, "the names of the concepts are the words"),
        ({"<a>": 1, "a": 1}, {}, "would share a folder"),
        ({"<a>": 1}, {"prior_count": 2}, "has no number 'prior_count'"),
    ],
)
def test_what_cannot_work_with_many_is_refused(pipe, sets, options, message):
    with pytest.raises(PersonaError, match=message):
        learn_many(pipe, sets, "textual-inversion", **options)
