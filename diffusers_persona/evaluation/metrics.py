"""The metrics of personalised generation: fidelity to the concept, obedience to the prompt.

Pure functions on embeddings and probabilities; `scorer.Scorer` feeds them from a set of instruments. Every
similarity is a raw cosine in [-1, 1], computed in float32: half precision drifts in the third digit. Two aggregations
are in use in the literature and both are here: all pairs (DreamBooth, arXiv 2208.12242; Custom Diffusion, arXiv
2212.04488) and one generated picture against one source (DreamBench++, arXiv 2406.16855).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from diffusers_persona.errors import PersonaError
from diffusers_persona.inversion.prompts import fill


def unit(embeddings: Any) -> torch.Tensor:
    """L2-normalises embeddings [N, d] (tensor or array) in float32; a zero vector stays zero."""
    return torch.nn.functional.normalize(torch.as_tensor(embeddings).detach().float(), dim=-1)


def all_pairs(generated: Any, references: Any) -> torch.Tensor:
    """Mean cosine of each generated embedding [N, d] to every reference [R, d]: the all-pairs score a picture, [N].

    Its mean is CLIP-I or DINO-I as DreamBooth and Custom Diffusion report it. With face embeddings it is the identity
    score.
    """
    _same_width(generated, references, "references")
    return (unit(generated) @ unit(references).T).mean(dim=1)


def paired(generated: Any, sources: Any) -> torch.Tensor:
    """Cosine of each generated embedding [N, d] to its own source [N, d], [N]: DreamBench++ prints it times 100."""
    _same_width(generated, sources, "sources")
    if len(generated) != len(sources):
        raise PersonaError(
            f"paired scores need one source a picture: got {len(generated)} pictures and {len(sources)} sources."
        )
    return (unit(generated) * unit(sources)).sum(dim=-1)


def to_the_others(references: Any) -> torch.Tensor:
    """Mean cosine of each real picture [R, d] of one concept to its others, [R].

    Its mean is the mean over all pairs i < j: the "Real Images" line of DreamBooth's table. Print it beside every run:
    it shows at once which encoder and preprocessing a figure comes from.
    """
    if len(references) < 2:
        raise PersonaError("the real-images score compares references with each other: give at least two.")
    similarity = unit(references) @ unit(references).T
    return (similarity.sum(dim=1) - similarity.diagonal()) / (len(references) - 1)


def clip_text(images: Any, texts: Any) -> torch.Tensor:
    """CLIP-T: cosine of each picture embedding [N, d] to the embedding of its own text [N, d], raw, [N].

    Multiply by 2.5 and clip at 0 for the CLIPScore that Custom Diffusion reports.
    """
    return paired(images, texts)


def class_prompt(template: str, *nouns: str) -> str:
    """The prompt without the learned tokens, for CLIP-T: `("a {} at sunset", "animal")` -> "an animal at sunset".

    A template has one place `{}`, or numbered places `{0}`, `{1}` for some or all of several concepts.

    Raises:
        PersonaError: no place for any noun, or a place without a noun.
    """
    places = ["{}"] if "{}" in template else [f"{{{number}}}" for number in range(len(nouns))]
    found = [template.count(place) for place in places]
    filled = template
    for place in places:
        filled = filled.replace(place, "")
    if len(places) != len(nouns) or not any(found) or "{" in filled or (places == ["{}"] and found != [1]):
        wanted = "exactly one '{}' for the concept" if len(nouns) == 1 else f"{{0}} to {{{len(nouns) - 1}}}"
        raise PersonaError(f"a prompt template holds {wanted}, got {template!r}.")
    for place, noun in zip(places, nouns, strict=True):
        while place in template:
            template = fill(template.replace(place, "{}", 1), noun)
    return template


def top_label_is(names: Sequence[str], probabilities: Any, expected: str, *, top: int = 1) -> torch.Tensor:
    """Whether `expected` is among the `top` likeliest of `names`; probabilities [N, K] -> float 0 or 1, [N]."""
    if expected not in names:
        raise PersonaError(f"the classifier knows no label {expected!r}: it knows {', '.join(map(str, names))}.")
    scores = torch.as_tensor(probabilities).float()
    best = scores.topk(min(top, scores.shape[1]), dim=1).indices
    return (best == list(names).index(expected)).any(dim=1).float()


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What one prompt asks of its picture, None where nothing; `text` is the prompt without the learned token.

    `relation` is how two things should lie and which of them comes first, in the classifier's terms; `things` are the
    numbers of those things of a concept that the prompt names, None for all.
    """

    text: str
    background: str | None = None
    style: str | None = None
    noun: str | None = None
    second_noun: str | None = None
    attribute: str | None = None
    relation: tuple[str, str] | None = None
    things: tuple[int, ...] | None = None

    def facts(self) -> dict[str, Any]:
        """The fields as a dict; what came later than stored rows stands in it only where it is used."""
        later = ("relation", "things")
        return {name: value for name, value in asdict(self).items() if name not in later or value is not None}


OBEDIENCE = ("background", "style", "content", "second_object", "attribute")
"""What a prompt may ask for: a place, a style, the thing to show (in a learned style), a second thing, a look."""


def _same_width(generated: Any, others: Any, name: str) -> None:
    if not len(generated) or not len(others) or generated.shape[-1] != others.shape[-1]:
        raise PersonaError(
            f"embeddings do not fit: pictures {tuple(generated.shape)} and {name} {tuple(others.shape)}; "
            "both need at least one row and the same width."
        )
