"""Several things learned from the same pictures: a word, a class word and a mask for each."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from diffusers_persona import PersonaError, Recipe, inversion, learn, losses, schemes, spaces
from diffusers_persona.inversion.images import load_images
from diffusers_persona.testing import tiny_pictures, tiny_pipeline


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watching(losses.Denoising):
    """The denoising loss; it keeps the steps that it sees."""

    steps: list = dataclasses.field(default_factory=list)

    def __call__(self, step):
        self.steps.append(step)
        return super().__call__(step)


def two_words(loss, **options):
    return Recipe(
        space=[spaces.Word(part="each"), spaces.Word(name="spare", init="text", text="thing")],
        method=inversion.Optimization(steps=1, lr=1e-2, batch_size=2, losses=[loss]),
        scheme=schemes.Prompting(negative="{spare}"),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a photo of {phrase}, {spare}"), **options),
    )


def halves(side=32):
    left = np.zeros((side, side), np.uint8)
    left[:, : side // 2] = 255
    return Image.fromarray(left), Image.fromarray(255 - left)


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline("sd")


def test_each_thing_has_its_word_and_its_mask(pipe):
    loss = Watching()
    left, right = halves()
    pictures, masks = tiny_pictures(2), {"cat": [left, left], "dog": [right, None]}
    concept = learn(pipe, pictures, two_words(loss), noun="cat and dog", masks=masks, progress=False)
    assert (concept.token, concept.noun, concept.phrase) == ("<cat> <dog>", "cat and dog", "<cat> and <dog>")
    assert [space.token for space in concept.spaces][:2] == ["<cat>", "<dog>"]
    assert concept.spaces[2].token == concept.negative == "<cat+dog-spare>"
    (step,) = loss.steps
    assert step.prompts == ["a photo of <cat> and <dog>, <cat+dog-spare>"] * 2
    assert step.part_masks.shape[1] == 2 and torch.equal(step.masks, step.part_masks.amax(1, keepdim=True))
    with concept.attach(pipe):
        assert "<cat>" in pipe.tokenizer.tokenize("a <cat>")


def test_a_mask_is_missing_for_one_of_the_things():
    with pytest.raises(PersonaError, match=r"masks are given for cat, the things are cat, dog"):
        load_images(tiny_pictures(1), masks={"cat": [halves()[0]]}, parts=("cat", "dog"))


def test_a_recipe_that_needs_masks_says_so(pipe):
    with pytest.raises(PersonaError, match="has no mask for each thing"):
        learn(pipe, tiny_pictures(1), two_words(losses.Denoising(), needs=("masks",)), noun="cat and dog")


def test_words_and_things_must_be_as_many(pipe):
    with pytest.raises(PersonaError, match="names 1 things and noun='cat and dog' names 2"):
        learn(pipe, tiny_pictures(1), two_words(losses.Denoising()), token="<a>", noun="cat and dog")
