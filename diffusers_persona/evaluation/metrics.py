"""The metrics of personalised generation: fidelity to the concept, obedience to the prompt.

Pure functions on embeddings and probabilities first, then `Scorer`, which feeds them from a set of instruments
(encoders, classifiers, a segmenter). Every similarity is a raw cosine in [-1, 1], computed in float32: half precision
drifts in the third digit. Two aggregations are in use in the literature and both are here: all pairs (DreamBooth,
arXiv 2208.12242; Custom Diffusion, arXiv 2212.04488) and one generated picture against one source (DreamBench++,
arXiv 2406.16855).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from diffusers_persona.errors import PersonaError


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
    before, after = template.split("{}")
    words = before.split(" ")
    if len(words) > 1 and words[-2].lower() in ("a", "an") and not words[-1] and noun:
        article = "an" if noun[0].lower() in "aeiou" else "a"
        words[-2] = article.capitalize() if words[-2][0].isupper() else article
    return " ".join(words) + noun + after


def top_label_is(names: Sequence[str], probabilities: Any, expected: str, *, top: int = 1) -> torch.Tensor:
    """Whether `expected` is among the `top` likeliest of `names`; probabilities [N, K] -> float 0 or 1, [N]."""
    if expected not in names:
        raise PersonaError(f"the classifier knows no label {expected!r}: it knows {', '.join(map(str, names))}.")
    scores = torch.as_tensor(probabilities).float()
    best = scores.topk(min(top, scores.shape[1]), dim=1).indices
    return (best == list(names).index(expected)).any(dim=1).float()


@dataclass(frozen=True, kw_only=True)
class Masking:
    """The rule of the masked metrics. The literature has no standard one, so it is written into every row.

    fill: RGB 0-255 that replaces the background. threshold: foreground probability from which a pixel is kept whole;
    below it the pixel is replaced whole. least: smallest foreground share of a picture; below it the picture is scored
    unmasked, since nothing was found.
    """

    fill: tuple[int, int, int] = (128, 128, 128)
    threshold: float = 0.5
    least: float = 0.01

    def apply(self, images: Sequence[Image.Image], masks: Any) -> list[Image.Image]:
        """Replaces the background of each picture; masks [N, H, W] are foreground probabilities in [0, 1]."""
        keep = torch.as_tensor(masks).float() >= self.threshold
        return [self._apply_one(image, mask) for image, mask in zip(images, keep.cpu().numpy(), strict=True)]

    def _apply_one(self, image: Image.Image, keep: np.ndarray) -> Image.Image:
        image = image.convert("RGB")
        if keep.mean() < self.least:
            return image
        mask = Image.fromarray((keep * 255).astype(np.uint8))
        if mask.size != image.size:
            mask = mask.resize(image.size, Image.Resampling.NEAREST)
        return Image.composite(image, Image.new("RGB", image.size, self.fill), mask)


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What one prompt asks of its picture, None where nothing; `text` is the prompt without the learned token."""

    text: str
    background: str | None = None
    style: str | None = None
    second_noun: str | None = None


OBEDIENCE = ("background", "style", "second_object")


class Scorer:
    """Scores generated pictures of one concept with a set of instruments.

    Args:
        instruments: an object with `clip_image, clip_text, dino, face, mask, attributes` (see `toybox.instruments`).
        references: the concept's own pictures.
        kind: object, live, person or style; the identity score is computed for people.
        label: (attribute, name) by which the classifier knows the concept, such as ("noun", "poodle"), or None.
        masking: the fill rule of the masked metrics.
    """

    def __init__(
        self,
        instruments: Any,
        references: Sequence[Image.Image],
        *,
        kind: str,
        label: tuple[str, str] | None = None,
        masking: Masking | None = None,
    ):
        if not references:
            raise PersonaError("scoring needs the concept's reference pictures: got none.")
        self.instruments, self.kind, self.label = instruments, kind, label
        self.masking = masking or Masking()
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

    def describe(self) -> dict[str, Any]:
        """What it takes to repeat the scores: fill rule, aggregation, and what the instruments say of themselves."""
        described = {"aggregation": "all pairs", "kind": self.kind, "masking": asdict(self.masking)}
        if hasattr(self.instruments, "describe"):
            described["instruments"] = self.instruments.describe()
        return described

    def _embed(self, images: list[Image.Image]) -> dict[str, Any]:
        foreground = self.masking.apply(images, self.instruments.mask(images))
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
    if expectation.second_noun:
        # The concept itself takes one place, so the second object counts when it is among the two likeliest nouns.
        scores["second_object"] = right("noun", expectation.second_noun, top=2)
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
