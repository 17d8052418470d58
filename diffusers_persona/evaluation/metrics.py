"""The metrics of personalised generation: fidelity to the concept, obedience to the prompt.

Pure functions on embeddings and probabilities first, then `Scorer`, which feeds them from a set of instruments
(encoders, classifiers, a segmenter). Every similarity is a raw cosine in [-1, 1], computed in float32: half precision
drifts in the third digit. Two aggregations are in use in the literature and both are here: all pairs (DreamBooth,
arXiv 2208.12242; Custom Diffusion, arXiv 2212.04488) and one generated picture against one source (DreamBench++,
arXiv 2406.16855).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

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


def real_images(references: Any) -> float:
    """Mean cosine over the pairs i < j of real pictures [R, d] of one concept: the "Real Images" line of DreamBooth's
    table.

    Print it beside every run: it shows at once which encoder and preprocessing a figure comes from.
    """
    if len(references) < 2:
        raise PersonaError("the real-images score compares references with each other: give at least two.")
    similarity = unit(references) @ unit(references).T
    upper = torch.triu(torch.ones_like(similarity, dtype=torch.bool), diagonal=1)
    return float(similarity[upper].mean())


def clip_text(images: Any, texts: Any) -> torch.Tensor:
    """CLIP-T: cosine of each picture embedding [N, d] to the embedding of its own text [N, d], raw, [N].

    Multiply by 2.5 and clip at 0 for the CLIPScore that Custom Diffusion reports.
    """
    return paired(images, texts)


def class_prompt(template: str, noun: str) -> str:
    """The prompt without the learned token, for CLIP-T: `("a {} at sunset", "animal")` -> "an animal at sunset"."""
    if template.count("{}") != 1:
        raise PersonaError(f"a prompt template holds exactly one '{{}}' for the concept, got {template!r}.")
    return fill(template, noun)


def top_label_is(names: Sequence[str], probabilities: Any, expected: str, *, top: int = 1) -> torch.Tensor:
    """Whether `expected` is among the `top` likeliest of `names`; probabilities [N, K] -> float 0 or 1, [N]."""
    if expected not in names:
        raise PersonaError(f"the classifier knows no label {expected!r}: it knows {', '.join(map(str, names))}.")
    scores = torch.as_tensor(probabilities).float()
    best = scores.topk(min(top, scores.shape[1]), dim=1).indices
    return (best == list(names).index(expected)).any(dim=1).float()


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What one prompt asks of its picture, None where nothing; `text` is the prompt without the learned token."""

    text: str
    background: str | None = None
    style: str | None = None
    noun: str | None = None
    second_noun: str | None = None
    attribute: str | None = None


OBEDIENCE = ("background", "style", "content", "second_object", "attribute")
"""What a prompt may ask for: a place, a style, the thing to show (in a learned style), a second thing, a look."""


class Scorer:
    """Scores generated pictures of one concept with a set of instruments.

    Args:
        instruments: an object with `clip_image, clip_text, dino, face, foreground, attributes` (see
            `toybox.instruments`); the fill rule of the masked metrics is that of its `foreground`.
        references: the concept's own pictures.
        kind: object, live, person or style; the identity score is computed for people.
        label: (attribute, name) by which the classifier knows the concept, such as ("noun", "poodle"), or None.
    """

    def __init__(
        self,
        instruments: Any,
        references: Sequence[Image.Image],
        *,
        kind: str,
        label: tuple[str, str] | None = None,
    ):
        if not references:
            raise PersonaError("scoring needs the concept's reference pictures: got none.")
        self.instruments, self.kind, self.label = instruments, kind, label
        self._references = self._embed(list(references))

    def score(self, images: Sequence[Image.Image], expectations: Sequence[Expectation]) -> list[dict[str, float]]:
        """One dict of scores a picture: only what applies to it (no "style" where the prompt asks for none).

        Fidelity: clip_i, dino_i, clip_i_masked, dino_i_masked, id (people), recognised (the classifier names the
        concept). Obedience: clip_t, background, style, second_object, and obedience = the mean of those three where
        asked.
        """
        if len(images) != len(expectations):
            raise PersonaError(f"got {len(images)} pictures but {len(expectations)} expectations: give one a picture.")
        embedded = self._embed(list(images))
        columns = {name: all_pairs(embedded[name], self._references[name]) for name in self._references}
        texts = list(dict.fromkeys(expectation.text for expectation in expectations))
        text_embeddings = torch.as_tensor(self.instruments.clip_text(texts))
        own_text = text_embeddings[[texts.index(expectation.text) for expectation in expectations]]
        columns["clip_t"] = clip_text(embedded["clip_i"], own_text)
        rows = [{name: float(column[i]) for name, column in columns.items()} for i in range(len(images))]
        attributes = self.instruments.attributes(list(images))
        for i, (row, expectation) in enumerate(zip(rows, expectations, strict=True)):
            row.update(_asked(attributes, i, expectation, self.label))
        return rows

    def _embed(self, images: list[Image.Image]) -> dict[str, Any]:
        foreground = self.instruments.foreground(images)
        embedded = {
            "clip_i": self.instruments.clip_image(images),
            "dino_i": self.instruments.dino(images),
            "clip_i_masked": self.instruments.clip_image(foreground),
            "dino_i_masked": self.instruments.dino(foreground),
        }
        if self.kind == "person":
            embedded["id"] = self.instruments.face(images)
        return embedded


def _asked(
    attributes: Mapping[str, tuple[Sequence[str], Any]],
    index: int,
    expectation: Expectation,
    label: tuple[str, str] | None,
) -> dict[str, float]:
    def right(attribute: str, expected: str, top: int = 1) -> float:
        names, probabilities = attributes[attribute]
        return float(top_label_is(names, torch.as_tensor(probabilities)[index : index + 1], expected, top=top))

    scores = {}
    if expectation.background:
        scores["background"] = right("background", expectation.background)
    if expectation.style:
        scores["style"] = right("style", expectation.style)
    if expectation.noun:
        scores["content"] = right("noun", expectation.noun)
    if expectation.second_noun:
        # The concept itself takes one place, so the second object counts when it is among the two likeliest nouns.
        scores["second_object"] = right("noun", expectation.second_noun, top=2)
    if expectation.attribute:
        names, probabilities = attributes["attribute"]
        scores["attribute"] = float(probabilities[index][names.index(expectation.attribute)] > 0.5)
    if asked := [scores[name] for name in OBEDIENCE if name in scores]:
        scores["obedience"] = sum(asked) / len(asked)
    if label:
        scores["recognised"] = right(*label)
    return scores


def _same_width(generated: Any, others: Any, name: str) -> None:
    if not len(generated) or not len(others) or generated.shape[-1] != others.shape[-1]:
        raise PersonaError(
            f"embeddings do not fit: pictures {tuple(generated.shape)} and {name} {tuple(others.shape)}; "
            "both need at least one row and the same width."
        )
