"""Attached and detached a thousand times, a pipeline is what it was."""

import gc
import random

import numpy as np
import pytest
import torch
import trust_jobs

from diffusers_persona.testing import tiny_pipeline


def draw(pipe):
    """Bytes of a picture from fixed noise."""
    options = dict(num_inference_steps=2, height=32, width=32, output_type="np")
    return np.asarray(pipe("a photo of dog", generator=torch.Generator().manual_seed(0), **options).images).tobytes()


def components(pipe):
    return {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}


def bits(pipe):
    """Copies of all parameters and buffers."""
    return {
        f"{part}.{name}": tensor.clone()
        for part, m in components(pipe).items()
        for name, tensor in m.state_dict().items()
    }


def census(pipe) -> dict:
    """What could leak: modules, hooks, words, attributes."""
    modules = [module for part in components(pipe).values() for module in part.modules()]
    hooks = sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        + len(getattr(getattr(m, "_diffusers_hook", None), "hooks", ()))
        for m in modules
    )  # fmt: skip
    return {
        "modules": len(modules),
        "parameters": sum(1 for m in modules for _ in m.parameters(recurse=False)),
        "hooks": hooks,
        "words": len(pipe.tokenizer),
        "tokenizer": (type(pipe.tokenizer), sorted(set(pipe.tokenizer.__dict__))),
        "attributes": sorted(name for name in pipe.__dict__ if "persona" in name),
    }


@pytest.mark.promise
def test_a_pipeline_is_the_same_after_any_number_of_cycles(soak):
    """Concepts of all spaces, attached and detached over and over in random order, leave a pipeline bit for bit as it
    was: the same pictures and weights, no more memory, hooks, modules or words."""
    concepts = [trust_jobs.train(recipe, None, steps=2) for recipe in trust_jobs.recipes()]
    pipe, chance = tiny_pipeline("sd"), random.Random(0)
    picture, weights, before = draw(pipe), bits(pipe), None
    cycles, living = soak(40, 1000, of="cycles of attach and detach"), []
    for cycle in range(cycles):
        attachments = [
            concept.attach(pipe, scale=chance.choice((0.0, 0.5, 1.0)))
            for concept in chance.sample(concepts, chance.choice((1, 1, 2, len(concepts))))
            if not taken(pipe, concept)
        ]
        if cycle % 50 == 0:
            assert draw(pipe)
        for attachment in chance.sample(attachments, len(attachments)):
            attachment.detach()
        if before is None:  # hook registries, which diffusers keeps, exist from the first cycle on
            before = census(pipe)
        if cycle % 20 == 0 or cycle == cycles - 1:
            assert census(pipe) == before
            now = dict(bits(pipe))
            assert all(torch.equal(now[name], weights[name]) for name in weights) and now.keys() == weights.keys()
            assert draw(pipe) == picture
            gc.collect()
            living.append(len(gc.get_objects()))
    assert living[-1] - living[1] < 300, living


def taken(pipe, concept) -> bool:
    """Whether one of the concept's words is attached already: two concepts of one word exclude each other."""
    tokens = pipe.tokenizer.__dict__.get("_persona_tokens")
    words = {space.token for space in concept.spaces if space.adds_token}
    return tokens is not None and not words.isdisjoint(tokens.tables)
