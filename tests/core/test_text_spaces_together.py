"""Spaces of a text encoder's output beside other concepts, in batches, offloaded, and in half precision."""

import pytest
import torch

from diffusers_persona.testing import tiny_pipeline

TEXT_RECIPES = ("hiper", "catversion", "cones2", "aesthetic-gradients")


@pytest.mark.parametrize("recipe", TEXT_RECIPES)
def test_a_batch_with_negative_prompts_gives_what_each_prompt_gives_alone(pipe, learned, draw, recipe):
    concept = learned(pipe, recipe)
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    with concept.attach(pipe):
        both = draw(pipe, ["a red dog", "a cat"], negative_prompt=["a bird", ""], latents=latents)
        for i, (prompt, negative) in enumerate((("a red dog", "a bird"), ("a cat", ""))):
            alone = draw(pipe, prompt, negative_prompt=negative, latents=latents[i : i + 1])
            assert abs(both[i] - alone[0]).max() < 1e-3


@pytest.mark.parametrize("recipe", TEXT_RECIPES)
def test_offloading_changes_nothing(pipe, learned, draw, recipe):
    concept = learned(pipe, recipe)
    with concept.attach(pipe):
        before = draw(pipe, "a red dog")
        pipe.enable_model_cpu_offload(device="cpu")
        assert abs(draw(pipe, "a red dog") - before).max() < 1e-4
        assert abs(draw(pipe, "a red dog") - before).max() < 1e-4


def test_words_that_depend_on_the_layer_stand_beside_a_residual_with_a_region(pipe, learned, draw):
    late, residual = learned(pipe, "p-plus", token="<late>"), learned(pipe, "cones2")
    pictures = []
    for order in ((late, residual), (residual, late)):
        attached = [c.attach(pipe, region=(0, 0, 0.5, 1)) if c is residual else c.attach(pipe) for c in order]
        pictures.append(draw(pipe, "a <late> and a dog", num_images_per_prompt=2))
        for each in attached:
            each.detach()
    assert abs(pictures[0] - pictures[1]).max() == 0
    with late.attach(pipe), residual.attach(pipe):
        assert abs(draw(pipe, "a <late> and a dog", num_images_per_prompt=2) - pictures[0]).max() > 1e-4


def test_two_residuals_have_two_regions(pipe, learned, draw):
    dog, cat = learned(pipe, "cones2", noun="dog"), learned(pipe, "cones2", noun="cat")
    with dog.attach(pipe, region=(0.0, 0.0, 0.5, 1.0)), cat.attach(pipe, region=(0.5, 0.0, 1.0, 1.0)):
        apart = draw(pipe, "a dog and a cat")
    with dog.attach(pipe, region=(0.5, 0.0, 1.0, 1.0)), cat.attach(pipe, region=(0.0, 0.0, 0.5, 1.0)):
        assert abs(draw(pipe, "a dog and a cat") - apart).max() > 1e-4


@pytest.mark.parametrize("recipe", TEXT_RECIPES)
def test_a_host_in_half_precision_is_served(learned, draw, recipe):
    concept = learned(tiny_pipeline("sd"), recipe)
    pipe = tiny_pipeline("sd").to(torch.bfloat16)
    plain = draw(pipe, "a red dog")
    with concept.attach(pipe, **({"region": (0.0, 0.0, 0.5, 1.0)} if recipe == "cones2" else {})):
        assert abs(draw(pipe, "a red dog") - plain).max() > 0
    assert abs(draw(pipe, "a red dog") - plain).max() == 0
