"""Learning N concepts in one run against N runs, one after the other."""

from __future__ import annotations

import time

import timing

import diffusers_persona as dp

COUNTS = (1, 2, 4, 8)


def toybox(steps: int, recipe: str = "textual-inversion"):
    """The curve over N on the Toybox; loading and encoding the pictures counts on both sides."""
    pipe = dp.toybox.load()
    concepts = [concept for concept in dp.toybox.concepts() if concept.kind in ("live", "object")]
    settings = dict(steps=steps, progress=False)
    curve = {}
    for count in COUNTS:
        chosen = {f"<{concept.name}>": concept.folder for concept in concepts[:count]}
        start = time.perf_counter()
        dp.learn_many(pipe, chosen, recipe, noun="thing", **settings)
        together = time.perf_counter() - start
        start = time.perf_counter()
        for token, folder in chosen.items():
            dp.learn(pipe, folder, recipe, token=token, noun="thing", **settings)
        curve[count] = round(together / (time.perf_counter() - start), 3)
    timing.put(
        f"many {recipe} toybox",
        what=f"one run that learns N concepts with {recipe} / N runs, {steps} steps",
        target="(a curve)",
        curve=curve,
    )
