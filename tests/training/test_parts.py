"""Several things from the same pictures: a word for each, masks for each, and prompts that name some of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffusers_persona import Concept, PersonaError, learn, losses
from diffusers_persona.inversion import prompts
from diffusers_persona.inversion.images import load_images

OPTIONS = dict(noun="cat and dog", steps=2, batch_size=2, progress=False)


@pytest.fixture
def halves():
    """Masks of four pictures: the cat is on the left, the dog below."""
    left, below = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    left[:, :16], below[16:] = 255, 255
    return {"cat": [Image.fromarray(left)] * 4, "dog": [Image.fromarray(below)] * 4}


def test_each_thing_has_a_word_of_its_own(pipe, pictures, tmp_path):
    concept = learn(pipe, pictures, "mcpl", **OPTIONS)
    assert [space.token for space in concept.spaces] == ["<cat>", "<dog>"]
    assert (concept.token, concept.noun, concept.phrase) == ("<cat> <dog>", "cat and dog", "<cat> and <dog>")
    loaded = Concept.from_pretrained(concept.save_pretrained(tmp_path))
    stock = [pipe.tokenizer(word).input_ids for word in ("<cat>", "<dog>")]
    with loaded.attach(pipe):
        assert all(len(pipe.tokenizer(word).input_ids) == 3 for word in ("<cat>", "<dog>"))
    assert [pipe.tokenizer(word).input_ids for word in ("<cat>", "<dog>")] == stock


def test_a_loss_sees_the_mask_of_each_thing(pipe, pictures, halves, monkeypatch):
    seen, original = [], losses.UnionDenoising.__call__
    monkeypatch.setattr(
        losses.UnionDenoising, "__call__", lambda self, step: seen.append(step) or original(self, step)
    )
    learn(pipe, pictures, "break-a-scene", masks=halves, prior_count=2, **OPTIONS)
    step = seen[0]
    assert step.part_masks.shape == (4, 2, 16, 16) and step.concept_rows == 2
    assert step.part_masks[0, 0, :, :8].min() == 1 and step.part_masks[0, 0, :, 8:].max() == 0
    assert torch.equal(step.masks[0, 0], step.part_masks[0].amax(0))
    assert all(prompt.startswith("a photo of <") for step in seen for prompt in step.prompts[:2])


def test_prompts_name_random_subsets_in_random_order():
    random = torch.Generator().manual_seed(0)
    subsets, phrase = prompts.Subsets("a photo of {phrase}"), "<a> and <b> and <c>"
    picked = [subsets.pick("object", phrase, None, random) for _ in range(300)]
    assert set(picked) == set(subsets.every("object", phrase)) and len(set(picked)) == 3 + 6 + 6
    shares = [sum(prompt.count("<") == n for prompt in picked) / 300 for n in (1, 2, 3)]
    assert all(abs(share - 1 / 3) < 0.1 for share in shares)


def test_a_caption_names_each_thing_where_it_stands(pictures):
    captions = prompts.Captions()
    (example,) = load_images(pictures[:1], captions=["a brown cup on an apple"])
    told = dict(phrase="<cup> and <fruit>", noun="cup and apple")
    assert captions.pick("object", told["phrase"], example, noun=told["noun"]) == "a brown <cup> on a <fruit>"
    (twins,) = load_images(pictures[:1], captions=["a cat beside a cat"])
    assert captions.pick("object", "<a> and <b>", twins, noun="cat and cat") == "a <a> beside a <b>"
    with pytest.raises(PersonaError, match="does not name dog"):
        captions.pick("object", "<a> and <b>", twins, noun="cat and dog")


def test_tokens_are_one_for_each_thing(pipe, pictures):
    with pytest.raises(PersonaError, match="names 1 things and noun='cat and dog' names 2"):
        learn(pipe, pictures, "mcpl", token="<both>", **OPTIONS)


def test_rare_first_values_differ(pipe, pictures):
    concept = learn(pipe, pictures, "disendiff", prior_count=2, **OPTIONS)
    first, second = (concept.tensors_of(i)["text_encoder.initial"] for i in range(2))
    table = pipe.text_encoder.get_input_embeddings().weight
    for vectors, word in ((first, "sks"), (second, "ktn")):
        assert torch.equal(vectors, table[pipe.tokenizer(word, add_special_tokens=False)["input_ids"]])
    assert concept.phrase == "<cat> cat and <dog> dog"


def test_phases_may_be_parts_of_the_run():
    from diffusers_persona.inversion import Optimization, Phase

    phases = (Phase(steps=0.3, train=("word",)), Phase(steps=1.0, train=("weights",)))
    method = Optimization(steps=10, lr=1e-3, losses=[losses.Denoising()], phases=phases)
    assert [phase.steps for phase in method.phases] == [3, 7]
