"""Prompt obedience: does a pipeline draw what captions say, as the instruments of the world read it?"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .instruments import Instruments
from .instruments.attributes import NONE, targets
from .vocabulary import CLASS_WORDS, PERSON_WORDS
from .world import Description, Thing, sample_description

if TYPE_CHECKING:
    from PIL import Image

SEED = 77_000
GUIDANCE_SCALE = 4.0


def captions(count: int, seed: int = SEED) -> list[Description]:
    """`count` descriptions of the training mix from unseen random numbers: known words in new combinations."""
    rng = random.Random(f"obedience/{seed}")
    return [sample_description(rng) for _ in range(count)]


def measure(
    pipe, instruments: Instruments, *, count: int = 500, steps: int = 25, batch: int = 25, seed: int = SEED,
    guidance_scale: float = GUIDANCE_SCALE,
) -> dict:  # fmt: skip
    """Draw `count` captions with `pipe` in `steps` steps and score them; see `score` for the numbers."""
    described = captions(count, seed)
    images = generate(
        pipe, [d.caption() for d in described], steps=steps, batch=batch, seed=seed, guidance_scale=guidance_scale
    )
    return {"samples": count, "steps": steps, "guidance_scale": guidance_scale, "seed": seed} | score(
        instruments, images, described
    )


def generate(
    pipe, prompts: Sequence[str], *, steps: int, batch: int, seed: int, guidance_scale: float
) -> list["Image.Image"]:
    """One picture a prompt, in batches; picture i depends on `seed` + i, its prompt and the pipeline alone."""
    import torch

    images = []
    for start in range(0, len(prompts), batch):
        part = list(prompts[start : start + batch])
        generators = [torch.Generator().manual_seed(seed + start + index) for index in range(len(part))]
        drawn = pipe(part, num_inference_steps=steps, guidance_scale=guidance_scale, generator=generators)
        images += drawn.images
    return images


def score(instruments: Instruments, images: Sequence["Image.Image"], described: Sequence[Description]) -> dict:
    """Shares of right answers, each with the number of captions it was asked of (`<name>_of`).

    noun: single objects, first among all nouns; background: unless the style leaves no trace of it; colour; style: of
    captions that name one; person: first among all names; both_nouns: two-object captions whose two most likely nouns
    are the right ones; relation, relation_roles (with the right one in the first place); attribute: each named mouth,
    eyewear, hat or beard seen; hair; clip_t: mean cosine of picture and caption.
    """
    wanted = [_targets(description) for description in described]
    read = instruments.attributes(images)
    best = {head: [names[i] for i in table.argmax(1).tolist()] for head, (names, table) in read.items()}
    answers = {
        "noun": [(best["noun"][row], w["single"]) for row, w in enumerate(wanted)],
        "background": [(best["background"][row], w["background"]) for row, w in enumerate(wanted)],
        "colour": [(best["colour"][row], w["colour"]) for row, w in enumerate(wanted)],
        "style": [(best["style"][row], w["style"] if w["style"] != NONE else None) for row, w in enumerate(wanted)],
        "person": list(zip(_best_name(read["person"]), [w["person"] for w in wanted], strict=True)),
        "hair": [(best["hair"][row], w["hair"]) for row, w in enumerate(wanted)],
        "both_nouns": list(zip(_top_two(read["noun"]), [w["pair"] for w in wanted], strict=True)),
        "relation": [(best["relation"][row], w["relation"]) for row, w in enumerate(wanted)],
        "relation_roles": [
            ((best["relation"][row], best["first"][row]), w["relation"] and (w["relation"], w["first"]))
            for row, w in enumerate(wanted)
        ],
        "attribute": _attribute_answers(read["attribute"], wanted),
    }
    cosines = instruments.clip_image(images) * instruments.clip_text(
        [description.caption() for description in described]
    )
    return _shares(answers) | {"clip_t": round(cosines.sum(1).mean().item(), 4)}


def _shares(answers: dict[str, list[tuple]]) -> dict:
    shares = {}
    for name, pairs in answers.items():
        right = [found == asked for found, asked in pairs if asked is not None]
        shares |= {name: round(sum(right) / len(right), 4) if right else None, f"{name}_of": len(right)}
    return shares


def _targets(description: Description) -> dict:
    """What each head should read in a picture of `description`; None where the caption does not ask for it."""
    subject, second = description.subject, description.second
    label = dict.fromkeys(("noun", "second_noun", "colour", "person", "word", "mouth", "eyes", "hat", "beard", "hair"))
    label |= {"background": description.background, "style": description.style, "relation": description.relation}
    label |= {"second_noun": second.noun if second else None}
    if isinstance(subject, Thing):
        label |= {"noun": subject.noun, "colour": subject.colour}
    else:
        named = subject.name if subject.name not in PERSON_WORDS else None
        label |= {"person": named, "word": "person", "mouth": subject.mouth, "eyes": subject.eyes}
        label |= {"hat": subject.hat, "hair": subject.hair, "beard": subject.beard}
    answer = targets(label)
    nouns = answer["noun"]
    known = isinstance(subject, Thing) and not any(noun in CLASS_WORDS for noun in nouns)
    return answer | {
        "single": nouns[0] if known and not second else None,
        "pair": set(nouns) if known and second else None,
        "person": answer["person"] if answer["person"] != NONE else None,
        "relation": answer["relation"] if known and second else None,
    }


def _best_name(scores) -> list[str]:
    """The most likely named person of each picture, "none" left out."""
    names, table = scores
    rows = [index for index, name in enumerate(names) if name != NONE]
    return [names[rows[best]] for best in table[:, rows].argmax(1).tolist()]


def _top_two(scores) -> list[set[str]]:
    names, table = scores
    return [{names[index] for index in row} for row in table.topk(2, dim=1).indices.tolist()]


def _attribute_answers(scores, wanted: list[dict]) -> list[tuple]:
    """(seen, True) for every attribute that a caption names."""
    names, table = scores
    return [
        (bool(table[row, names.index(name)] > 0.5), True)
        for row, answer in enumerate(wanted)
        for name in answer["attribute"]
    ]
