"""Result rows with known answers."""

import numpy as np
import pytest

PROMPTS = ["a {} on the beach", "a neon of a {}", "a {} next to a car"]
ASKED = ["background", "style", "second_object"]
TRUTH = {
    "real-images": (0.85, 0.0),
    "base": (0.4, 0.9),
    "copy-paste": (0.95, 0.05),
    "oracle": (0.9, 1.0),
    "lora": (0.83, 0.85),
    "useless": (0.4, 0.9),
}
"""Row -> (fidelity, obedience) that its scores scatter around."""


def make_row(recipe, concept, seed, *, kind="object", fidelity=0.5, obedience=0.5, rng=None):
    """One row with three prompts x two pictures."""
    rng = rng or np.random.default_rng(0)
    scores = []
    for prompt in range(len(PROMPTS)):
        for image in range(2):
            alike, obeyed = float(fidelity + rng.normal(0, 0.03)), float(rng.random() < obedience)
            score = {"prompt": prompt, "image": image, "fidelity": alike, "dino_i_masked": alike}
            score |= {"clip_t": 0.2 + obeyed / 10}
            score |= {"obedience": obeyed, ASKED[prompt]: obeyed} | ({"id": alike} if kind == "person" else {})
            scores.append(score)
    learned = recipe in ("lora", "useless")
    return {
        "key": f"{recipe}-{concept}-{seed}",
        "schema": 1,
        "recipe": recipe,
        "concept": concept,
        "kind": kind,
        "seed": seed,
        "prompts": PROMPTS,
        "scores": scores,
        "learn_seconds": 20.0 if learned else 0.0,
        "artifact_bytes": 1500 if learned else 0,
        "settings": {"images_per_prompt": 2, "steps": 25, "guidance": 4.0},
        "machine": {"cpu": "a processor", "threads": 1},
        "versions": {"torch": "2", "diffusers": "0", "transformers": "5", "peft": "0"},
        "base_fingerprint": "base0",
        "instruments_fingerprint": "instruments0",
        "masking": "the background is filled with RGB (128, 128, 128)",
        "finished": "2026-01-01T00:00:00Z",
    }


@pytest.fixture
def rows():
    """Eight concepts x two seeds: "lora" truly beats the base, "useless" truly does not."""
    rng = np.random.default_rng(0)
    return [
        make_row(
            recipe, f"c{i}", seed, kind="person" if i > 5 else "object", fidelity=alike, obedience=obeyed, rng=rng
        )
        for recipe, (alike, obeyed) in TRUTH.items()
        for i in range(8)
        for seed in range(2)
    ]
