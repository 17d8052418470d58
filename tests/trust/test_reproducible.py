"""The same seed gives the same concept and the same pictures, and a picture does not depend on its neighbours."""

import numpy as np
import pytest
import torch
import trust_jobs

from diffusers_persona.testing import tiny_pipeline
from diffusers_persona.training.randomness import picks

RECIPES = trust_jobs.recipes()


def learn_and_draw(pipe, recipe, folder, threads):
    """Learns and draws with the concept on `threads` threads; sends the digests and the picture."""
    torch.set_num_threads(threads)
    concept = trust_jobs.train(recipe, folder, steps=3)
    losses = concept.header["training"]["loss_curve"]
    host = tiny_pipeline("sd")
    with concept.attach(host):
        picture = draw(host, [f"a photo of {concept.phrase}"], [3])[0]
    pipe.send((concept.digest, trust_jobs.files(folder)["concept.safetensors"], picture, losses))


def draw(pipe, prompts, seeds):
    """Pictures [B, 32, 32, 3] in [0, 1], each from its own seed."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    options = dict(num_inference_steps=4, height=32, width=32, output_type="np", generator=generators)
    return np.asarray(pipe(prompts, **options).images)


@pytest.mark.promise
def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path, soak):
    """The same seed on the same machine and number of threads gives the same concept file and the same picture, byte
    for byte, in every process; another number of threads sums in another order, and the losses agree to 1 %."""
    for recipe in RECIPES[: soak(1, len(RECIPES), of="recipes")]:
        first, second = (trust_jobs.call(learn_and_draw, recipe, tmp_path / f"{recipe}{i}", 1) for i in range(2))
        assert first[:2] == second[:2] and np.array_equal(first[2], second[2])
        other = trust_jobs.call(learn_and_draw, recipe, tmp_path / f"{recipe}-threads", 2)
        np.testing.assert_allclose(first[3], other[3], rtol=0.01)


@pytest.mark.promise
def test_a_picture_does_not_depend_on_its_neighbours_in_the_batch():
    """A picture drawn alone and the same one drawn in a batch of four differ by less than a third of one of 255 grey
    levels, with a concept attached and without."""
    pipe = tiny_pipeline("sd")
    concept = trust_jobs.train(RECIPES[0], None, steps=2)
    prompts, seeds = ["a photo of dog", f"a red {concept.phrase}", "a painting of cat", "beach"], [1, 2, 3, 4]
    with concept.attach(pipe):
        together = draw(pipe, prompts, seeds)
        alone = np.concatenate([draw(pipe, [prompt], [seed]) for prompt, seed in zip(prompts, seeds)])
    assert np.abs(together - alone).max() < 1 / 255 / 3


@pytest.mark.promise
def test_the_order_of_pictures_in_learning_does_not_depend_on_the_batch_size():
    """Learning shows the pictures in one order that the seed alone decides, whatever the size of the batch."""
    one_by_one = [picks(5, 1, place, 7)[0] for place in range(60)]
    for size in (2, 3, 4, 12):
        assert [index for place in range(0, 60, size) for index in picks(5, size, place, 7)] == one_by_one
