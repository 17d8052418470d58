"""Training of the attribute network: what a picture shows, held-out things included, for it only judges."""

from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ..vocabulary import (
    COLOURS,
    EYES,
    HAIR_COLOURS,
    HATS,
    HELD_OUT_NOUNS,
    HELD_OUT_PEOPLE,
    HELD_OUT_STYLES,
    MOUTHS,
    NOUNS,
    PEOPLE,
    SCENES,
    STYLES,
)
from .augmentation import blur, degrade, to_pixels
from .fitting import Plan, fit
from .networks import AttributeNetwork
from .pictures import PictureSet

PLAN = Plan(samples=150_000, batch=128, lr=1.5e-3, muon_scale=10.0)
NONE = "none"
IGNORED = -100
HEADS = {
    "noun": [*NOUNS, *HELD_OUT_NOUNS],
    "background": [*SCENES, *COLOURS],
    "colour": list(COLOURS),
    "style": [NONE, *STYLES, *HELD_OUT_STYLES],
    "person": [NONE, *PEOPLE, *HELD_OUT_PEOPLE],
    "attribute": [*MOUTHS, *EYES, *HATS, "beard"],
    "hair": list(HAIR_COLOURS),
    "relation": [NONE, "next to", "on top of", "in front of", "inside"],
    "first": [*NOUNS, *HELD_OUT_NOUNS],
}
"""Head -> classes. "noun" and "attribute" may hold several at once, the others one.

"relation" is how two things lie; "under" and "behind" are "on top of" and "in front of" with the things exchanged, so
"first" tells which noun is the left, upper, front or inner one. "colour" is that of a recoloured single object.
"""
MULTIPLE = ("noun", "attribute")
LAYOUTS = {
    "and": "next to",
    "under": "on top of",
    "behind": "in front of",
    "right of": "next to",
    "above": "on top of",
}
SWAPPED = ("under", "behind", "right of")
"""Relations that are another one with the things exchanged."""
COLOURLESS_STYLES = ("sketch", "neon", "blueprint")
"""Styles that keep outlines alone: neither a colour background nor an object's colour leaves a trace in them."""
_CONFIG = {
    "trunk": {"embedding_size": 32, "hidden_sizes": [48, 96, 192], "depths": [1, 2, 2], "layer_type": "basic"},
    "map_side": 4,
    "heads": HEADS,
}


def targets(label: dict) -> dict[str, str | list[str] | None]:
    """The right answer of each head for the labels of a picture; None where the picture cannot tell."""
    faceless = not label["word"]
    colourless = label["style"] in COLOURLESS_STYLES
    swapped = label["relation"] in SWAPPED
    single = label["second_noun"] is None
    relation = LAYOUTS.get(label["relation"], label["relation"]) or NONE
    shown = [label[part] for part in ("mouth", "eyes", "hat") if label[part]] + ["beard"] * bool(label["beard"])
    return {
        "noun": [noun for noun in (label["noun"], label["second_noun"]) if noun],
        "background": None if colourless and label["background"] in COLOURS else label["background"],
        "colour": label["colour"] if single and not colourless else None,
        "style": label["style"] or NONE,
        "person": NONE if faceless else label["person"] or NONE,
        "attribute": shown,
        "hair": None if faceless or colourless else label["hair"],
        "relation": relation if faceless else None,
        "first": label["second_noun"] if swapped else label["noun"],
    }


def encode_targets(labels: list[dict]) -> dict[str, Tensor]:
    """Targets of each head: class indices [N] (IGNORED where unknown) or, for MULTIPLE, 0/1 [N, classes]."""
    answers = [targets(label) for label in labels]
    encoded = {}
    for head, names in HEADS.items():
        position = {name: index for index, name in enumerate(names)}
        if head in MULTIPLE:
            encoded[head] = torch.zeros(len(labels), len(names))
            for row, answer in enumerate(answers):
                for name in answer[head]:
                    encoded[head][row, position[name]] = 1
        else:
            encoded[head] = torch.tensor([IGNORED if a[head] is None else position[a[head]] for a in answers])
    return encoded


def attribute_loss(logits: dict[str, Tensor], answers: dict[str, Tensor]) -> Tensor:
    """The sum over heads: cross-entropy, or binary cross-entropy summed over the classes of MULTIPLE heads."""
    total = logits["noun"].new_zeros((), dtype=torch.float32)
    for head, answer in answers.items():
        values = logits[head].float()
        if head in MULTIPLE:
            total = total + F.binary_cross_entropy_with_logits(values, answer, reduction="sum") / len(answer)
        elif (answer != IGNORED).any():
            total = total + F.cross_entropy(values, answer, ignore_index=IGNORED)
    return total


def train(pictures: PictureSet, work: Path, plan: Plan = PLAN) -> AttributeNetwork:
    """Fit the network to rendered pictures with their labels; resumes from `work`."""
    torch.manual_seed(plan.seed)
    network = AttributeNetwork(_CONFIG).to(memory_format=torch.channels_last)
    answers = encode_targets(pictures.labels)

    def loss(indices: Tensor, generator: Generator) -> Tensor:
        indices = indices.sort().values
        pixels = degrade(to_pixels(torch.from_numpy(pictures.images[indices.numpy()])), generator)
        logits = network(pixels.contiguous(memory_format=torch.channels_last))
        return attribute_loss(logits, {head: answer[indices] for head, answer in answers.items()})

    fit(nn.ModuleDict({"network": network}), loss, plan, count=len(pictures), folder=work)
    return network


def refit_style(
    network: AttributeNetwork, pictures: PictureSet, *, each: int = 1100, plain: int = 5000, seed: int = 0
) -> None:
    """Fit the style head anew, all else frozen, to pictures as they are and half blurred.

    The stronger degradations of `train` turn pixel art into what a soft plain picture may look like; a judge of styles
    has to see its blocks. `each` and `plain` count the pictures of every style and of none.
    """
    generator = torch.Generator().manual_seed(seed)
    styles = encode_targets(pictures.labels)["style"]
    chosen = []
    for index, name in enumerate(HEADS["style"]):
        rows = (styles == index).nonzero()[:, 0]
        chosen.append(rows[torch.randperm(len(rows), generator=generator)][: plain if name == NONE else each])
    rows = torch.cat(chosen).sort().values
    pixels = to_pixels(torch.from_numpy(pictures.images[rows.numpy()]))
    softness = torch.rand(len(pixels), 1, 1, 1, generator=generator) * 0.8
    soft = torch.lerp(pixels, blur(pixels), softness) + 0.03 * torch.randn(pixels.shape, generator=generator)
    with torch.no_grad():
        features = torch.cat([network.features(part) for part in torch.cat([pixels, soft]).split(100)])
    spread, centre = features.std(0) + 1e-3, features.mean(0)
    head, answers = torch.nn.Linear(features.shape[1], len(HEADS["style"])), styles[rows].repeat(2)
    optimizer = torch.optim.Adam(head.parameters(), lr=2e-3)
    for _ in range(250):
        batch = torch.randint(len(features), (4000,), generator=generator)
        loss = F.cross_entropy(head((features[batch] - centre) / spread), answers[batch])
        optimizer.zero_grad()
        (loss + 5e-3 * head.weight.square().sum()).backward()
        optimizer.step()
    with torch.no_grad():
        network.heads["style"].weight.copy_(head.weight / spread)
        network.heads["style"].bias.copy_(head.bias - head.weight / spread @ centre)
