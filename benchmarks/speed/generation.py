"""Generation with a concept attached against without, and what attaching itself costs."""

from __future__ import annotations

import statistics
import time

import timing
import torch

import diffusers_persona as dp


def toybox(recipes, rounds: int):
    """Pictures with CFG and 25 steps, at batch 1 and 8, for one concept of each recipe."""
    pipe, concept = dp.toybox.load(), dp.toybox.concept("hedgehog")
    pipe.set_progress_bar_config(disable=True)
    for recipe in recipes:
        entry = dp.recipes.get(recipe)
        wanted = entry.build(**entry.resolve({}, miniature=True)).method.class_pictures
        learned = dp.learn(
            pipe, concept.folder, recipe, noun=concept.noun, steps=2, progress=False,
            prior_images=dp.toybox.class_pictures(concept.noun) if wanted else None,
        )  # fmt: skip
        for batch in (1, 8):
            with_concept, without = _pictures(pipe, learned, batch, rounds if batch == 1 else max(3, rounds // 3))
            timing.put(
                f"generation {recipe} batch {batch} toybox",
                what=f"a picture run (25 steps, CFG, batch {batch}) with a {recipe} concept attached / without",
                target="<= 1.02",
                **timing.ratio(with_concept, without),
            )
        _attaching(pipe, learned, recipe)


def _pictures(pipe, concept, batch, rounds):
    def generate(prompt):
        generators = [torch.Generator().manual_seed(n) for n in range(batch)]
        pipe([prompt] * batch, num_inference_steps=25, guidance_scale=4.0, generator=generators)

    times = ([], [])
    for n in range(-1, rounds):
        for number in (0, 1) if n % 2 else (1, 0):
            attachment = None if number else concept.attach(pipe)
            start = time.perf_counter()
            generate(f"a {concept.noun} on the beach" if number else f"a {concept.phrase} on the beach")
            seconds = time.perf_counter() - start
            if attachment:
                attachment.detach()
            if n >= 0:
                times[number].append(seconds)
    return times


def _attaching(pipe, concept, recipe):
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        concept.attach(pipe).detach()
        seconds.append(time.perf_counter() - start)
    timing.put(
        f"attach {recipe} toybox",
        what=f"seconds to attach and detach a {recipe} concept",
        target="< 0.05 s",
        value=round(statistics.median(seconds), 4),
    )
