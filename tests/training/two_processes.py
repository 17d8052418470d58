"""What each of two processes does in `test_processes`: argument 1 is the folder; each writes what it saw there."""

import json
import os
import sys
from pathlib import Path

import torch

from diffusers_persona import PersonaError, learn, losses
from diffusers_persona.testing import tiny_pictures, tiny_pipeline
from diffusers_persona.training import prior

torch.set_num_threads(1)
FOLDER, RANK = Path(sys.argv[1]), int(os.environ["RANK"])
OPTIONS = dict(noun="dog", batch_size=1, progress=False, checkpoint_every=1)


class Stop(Exception):
    pass


def stop(done, loss):
    if done == 2:
        raise Stop


def run(recipe, place, **options):
    return learn(tiny_pipeline("sd"), tiny_pictures(4), recipe, output=FOLDER / place, **OPTIONS, **options)


def refusal(*args, **options):
    try:
        run(*args, **options)
    except PersonaError as error:
        return str(error)


def main():
    seen = {}
    made = prior.generated
    prior.generated = lambda *args, **options: seen.setdefault("class pictures", made(*args, **options))
    numbers = dict(steps=4, lr=1e-3, prior_count=3)
    try:
        run("dreambooth", "run", callback=stop, **numbers)
    except Stop:
        seen["left"] = sorted(path.name for path in (FOLDER / "run").iterdir())
    concept = run("dreambooth", "run", resume=True, preview_every=3, **numbers)
    seen |= {"digest": concept.digest, "previews": len(concept.previews), "class pictures": "class pictures" in seen}
    seen["finished"] = run("dreambooth", "run", resume=True, **numbers).digest
    seen["occupied"] = refusal("dreambooth", "run", **numbers)
    seen["words"] = run("custom-diffusion", "words", steps=2, prior_weight=0.0).digest
    if RANK == 1:
        losses.Denoising.__call__ = lambda self, step: step.prediction.mean() * float("nan")
    seen["no number"] = refusal("textual-inversion", "broken", steps=3)
    (FOLDER / f"seen-{RANK}.json").write_text(json.dumps(seen))


main()
