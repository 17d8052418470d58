"""Scores of generated pictures of one concept, from a set of instruments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from diffusers_persona.errors import PersonaError

from .instruments import Classifier, FaceEncoder, Perceptual, Segmenter
from .metrics import OBEDIENCE, Expectation, all_pairs, clip_text, paired, to_the_others, top_label_is
from .style import style_statistics

Reward = Callable[[Sequence[Image.Image], Sequence[str]], Sequence[float]]
"""(pictures, their prompts without the learned token) -> one score a picture, the shape of ImageReward."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """What a prompt may name: its kind, and the label by which the classifier knows it, or None."""

    kind: str
    label: tuple[str, str] | None = None


class Scorer:
    """Scores generated pictures of one concept with a set of instruments.

    Args:
        instruments: see `instruments.Instruments`; what it cannot do is left out of the scores.
        references: the concept's own pictures.
        kind: object, live, person or style; the identity score is computed for people.
        label: (attribute, name) by which the classifier knows the concept, such as ("noun", "poodle"), or None.
        others: the references of further concepts that belong into the same pictures; likeness is the mean over those
            that a prompt names.
        things: what each set of references shows, for the one figure of fidelity; none leaves it out.
        style_centre: what plain pictures have in common, for likeness of styles.
        noun: the class word, for segmenters that are asked by text.
        reward: a preference model, or None.
    """

    def __init__(
        self,
        instruments: Any,
        references: Sequence[Image.Image],
        *,
        kind: str,
        label: tuple[str, str] | None = None,
        others: Sequence[Sequence[Image.Image]] = (),
        things: Sequence[Thing] = (),
        style_centre: torch.Tensor | None = None,
        noun: str = "",
        reward: Reward | None = None,
    ):
        if not references or not all(others):
            raise PersonaError("scoring needs the concept's reference pictures: got none.")
        self.instruments, self.kind, self.label, self.noun, self.reward = instruments, kind, label, noun, reward
        self.things, self.style_centre = things, style_centre
        self._references = [self._embed(list(each)) for each in (references, *others)]

    def score(
        self, images: Sequence[Image.Image], expectations: Sequence[Expectation], sources: Sequence[int] | None = None
    ) -> list[dict[str, float]]:
        """One dict of scores a picture: only what applies to it (no "style" where the prompt asks for none).

        Fidelity: clip_i, dino_i, clip_i_masked, dino_i_masked, id (people whose face is found) and face_found,
        recognised (the classifier names the concept), style_i and relation for these, and fidelity, the one of them
        that counts for the kind of concept. Obedience: clip_t, background, style, second_object, and
        obedience = the mean of what is asked. reward, where there is one.

        Args:
            images: the pictures.
            expectations: what each should show.
            sources: for each picture the number of the reference that it is compared with, for clip_i_paired and
                dino_i_paired; None leaves these out.
        """
        if len(images) != len(expectations):
            raise PersonaError(f"got {len(images)} pictures but {len(expectations)} expectations: give one a picture.")
        embedded, found = self._embed(list(images)), self._faces(images)
        named = [expectation.things for expectation in expectations]
        columns = {name: self._likeness(embedded[name], name, named) for name in embedded}
        for name in ("clip_i", "dino_i") if sources is not None else ():
            columns[f"{name}_paired"] = self._paired(embedded[name], name, sources)
        texts = list(dict.fromkeys(expectation.text for expectation in expectations))
        text_embeddings = torch.as_tensor(self.instruments.clip_text(texts))
        own_text = text_embeddings[[texts.index(expectation.text) for expectation in expectations]]
        columns["clip_t"] = clip_text(embedded["clip_i"], own_text)
        if self.reward:
            columns["reward"] = _rewards(self.reward, images, expectations)
        rows = [{name: float(column[i]) for name, column in columns.items()} for i in range(len(images))]
        asked = self.instruments.attributes(list(images)) if isinstance(self.instruments, Classifier) else None
        for i, (row, expectation) in enumerate(zip(rows, expectations, strict=True)):
            if found is not None:
                row["face_found"] = float(found[i])
                if not found[i]:
                    del row["id"]
            if asked:
                row.update(_asked(asked, i, expectation, self.label))
            if self.things:
                row["fidelity"] = self._fidelity(embedded, i, row, expectation, asked)
        return rows

    def _fidelity(self, embedded, i, row, expectation, asked) -> float:
        """The mean over the things that the prompt names: likeness of the foreground to a thing that is alone, the
        classifier's word for one of several, likeness of the style, or whether things lie as they should."""
        if "relation" in row:
            return row["relation"]
        numbers = range(len(self.things)) if expectation.things is None else expectation.things
        solid = [number for number in numbers if self.things[number].kind != "style"]
        values = []
        for number in numbers:
            thing = self.things[number]
            if thing.kind != "style" and len(solid) > 1 and thing.label and asked:
                names, probabilities = asked[thing.label[0]]
                values.append(float(top_label_is(names, probabilities[i : i + 1], thing.label[1], top=2)))
            else:
                name = "style_i" if thing.kind == "style" else "dino_i_masked"
                name = name if name in embedded else "dino_i"
                values.append(float(all_pairs(embedded[name][i : i + 1], self._references[number][name])))
        return sum(values) / len(values)

    def score_prompts(
        self, images: Sequence[Sequence[Image.Image]], expectations: Sequence[Expectation], *, paired: bool = False
    ) -> list[dict[str, Any]]:
        """The scores of the pictures of each prompt, with their `prompt` and `image` numbers.

        Args:
            images: the pictures of each prompt.
            expectations: what a prompt's pictures should show.
            paired: also compare picture k of prompt i with reference i + k alone, counted round.
        """
        places = [(i, k) for i, group in enumerate(images) for k in range(len(group))]
        scores = self.score(
            [images[i][k] for i, k in places],
            [expectations[i] for i, _ in places],
            sources=[i + k for i, k in places] if paired else None,
        )
        return [{"prompt": i, "image": k} | row for (i, k), row in zip(places, scores, strict=True)]

    def calibration(self) -> list[dict[str, float]]:
        """The scores of the references themselves, each against the others: what real pictures get.

        Empty for a concept with a single reference.
        """
        rows = []
        for references in self._references:
            names = [name for name, embedded in references.items() if len(embedded) > 1]
            columns = {name: to_the_others(references[name]).tolist() for name in names}
            rows += [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return rows

    def preservation(self, images: Sequence[Image.Image]) -> float:
        """PRES: likeness (DINO) of pictures of the class, made without the token, to the concept; lower is better."""
        return float(self._likeness(self.instruments.dino(list(images)), "dino_i").mean())

    def _likeness(self, embedded: Any, name: str, named: Sequence[tuple[int, ...] | None] = ()) -> torch.Tensor:
        """Likeness of each picture to the references, the mean over the things that its prompt names."""
        every = torch.stack([all_pairs(embedded, each[name]) for each in self._references])
        return torch.stack(
            [every[list(named[i]) if named and named[i] else slice(None), i].mean() for i in range(every.shape[1])]
        )

    def background_share(self, images: Sequence[Image.Image], backgrounds: Sequence[str]) -> float | None:
        """Mean probability, by the classifier, that a picture's background is one of `backgrounds`."""
        if not isinstance(self.instruments, Classifier):
            return None
        names, probabilities = self.instruments.attributes(list(images))["background"]
        columns = [list(names).index(name) for name in backgrounds if name in names]
        return float(torch.as_tensor(probabilities)[:, columns].sum(dim=1).mean())

    def _paired(self, embedded: Any, name: str, sources: Sequence[int]) -> torch.Tensor:
        pairs = [
            paired(embedded, torch.as_tensor(each[name])[[source % len(each[name]) for source in sources]])
            for each in self._references
        ]
        return torch.stack(pairs).mean(dim=0)

    def _embed(self, images: list[Image.Image]) -> dict[str, Any]:
        embedded = {"clip_i": self.instruments.clip_image(images), "dino_i": self.instruments.dino(images)}
        if isinstance(self.instruments, Segmenter):
            foreground = self.instruments.foreground(images, noun=self.noun)
            embedded["clip_i_masked"] = self.instruments.clip_image(foreground)
            embedded["dino_i_masked"] = self.instruments.dino(foreground)
        styled = self.kind == "style" or any(thing.kind == "style" for thing in self.things)
        if styled and self.things and isinstance(self.instruments, Perceptual):
            embedded["style_i"] = style_statistics(self.instruments.feature_maps(images), self.style_centre)
        if self.kind == "person" and isinstance(self.instruments, FaceEncoder):
            embedded["id"] = self.instruments.face(images)
        return embedded

    def _faces(self, images: Sequence[Image.Image]) -> list[bool] | None:
        if self.kind == "person" and isinstance(self.instruments, FaceEncoder):
            return [bool(each) for each in self.instruments.face_found(list(images))]
        return None


def _rewards(reward: Reward, images: Sequence[Image.Image], expectations: Sequence[Expectation]) -> list[float]:
    rewards = [float(value) for value in reward(list(images), [each.text for each in expectations])]
    if len(rewards) != len(images):
        raise PersonaError(f"the reward model gave {len(rewards)} scores for {len(images)} pictures.")
    return rewards


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
        scores["content"] = right("noun", expectation.noun, top=2 if expectation.second_noun else 1)
    if expectation.relation:
        layout, first = expectation.relation
        scores["relation"] = right("relation", layout) * right("first", first)
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
