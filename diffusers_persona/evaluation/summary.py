"""From result rows to figures: means with intervals, differences to the reference rows, a verdict a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from .statistics import Interval, bootstrap, paired_difference

FIDELITY = "fidelity"
"""The headline of fidelity: the one metric that counts for the kind of concept (see `scorer.Scorer`)."""
OBEDIENCE = "obedience"
"""The headline of obedience: share of what the prompt asks (place, style, second object, ...) that is there."""

REFERENCE_ROWS = ("real-images", "base", "copy-paste", "oracle")
"""Rows that are no recipes: what real pictures get, floor of fidelity, floor of obedience, ceiling of both."""

METRICS = {
    "fidelity": "fidelity",
    "dino_i_masked": "DINO-I masked",
    "dino_i": "DINO-I",
    "clip_i": "CLIP-I",
    "clip_i_masked": "CLIP-I masked",
    "dino_i_paired": "DINO-I paired",
    "clip_i_paired": "CLIP-I paired",
    "id": "ID (people)",
    "face_found": "face found",
    "style_i": "style likeness",
    "relation": "relation",
    "recognised": "recognised",
    "obedience": "obedience",
    "clip_t": "CLIP-T",
    "background": "background",
    "style": "style",
    "second_object": "second object",
    "content": "content",
    "attribute": "look",
    "reward": "reward",
}
"""Metric of a picture -> its heading, in the order of the tables."""

SET_METRICS = {
    "pres": "PRES (lower is better)",
    "class_div": "DIV of the class",
    "div": "DIV",
    "leak": "references' backgrounds (lower is better)",
}
"""Metric of a set of pictures -> its heading."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a recipe does its job on a benchmark: three paired differences with their intervals, in the benchmark's
    headline metrics.

    fidelity: recipe minus base. obedience: recipe minus copy-paste. price: obedience, recipe minus base (below zero
    where learning costs obedience).
    """

    fidelity: Interval
    obedience: Interval
    price: Interval

    @property
    def passed(self) -> bool:
        """Beats the base on fidelity and copy-paste on obedience, both outside the interval."""
        return self.fidelity.above_zero and self.obedience.above_zero


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One row of the scoreboard; `verdict` is None for reference rows and where rows to compare with are missing."""

    recipe: str
    means: Mapping[str, Interval]
    verdict: Verdict | None
    concepts: int
    seeds: int
    pictures: int
    learn_seconds: float
    artifact_bytes: float

    @property
    def is_reference(self) -> bool:
        """Whether the row is one of `REFERENCE_ROWS`."""
        return self.recipe in REFERENCE_ROWS


def summarise(
    rows: Sequence[Mapping[str, Any]],
    *,
    headline: tuple[str, str] = (FIDELITY, OBEDIENCE),
) -> list[Summary]:
    """A summary a recipe: reference rows first, then by fidelity, best first.

    Args:
        rows: result rows, all of the same models.
        headline: the metrics of fidelity and obedience that verdict and order go by.
    """
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["recipe"], []).append(row)
    summaries = [_summarise_one(recipe, grouped, headline) for recipe in grouped]

    def order(summary: Summary) -> tuple[int, float]:
        if summary.is_reference:
            return REFERENCE_ROWS.index(summary.recipe), 0.0
        fidelity = summary.means.get(headline[0])
        return len(REFERENCE_ROWS), -fidelity.mean if fidelity else 0.0

    return sorted(summaries, key=order)


def _summarise_one(recipe: str, grouped: Mapping[str, list], headline: tuple[str, str]) -> Summary:
    rows = grouped[recipe]
    compared = recipe not in REFERENCE_ROWS and {"base", "copy-paste"} <= set(grouped)
    return Summary(
        recipe=recipe,
        means={metric: mean for metric in (*METRICS, *SET_METRICS) if (mean := _mean(rows, metric))},
        verdict=_verdict(rows, grouped["base"], grouped["copy-paste"], headline) if compared else None,
        concepts=len({row["concept"] for row in rows}),
        seeds=len({row["seed"] for row in rows}),
        pictures=sum(len(row["scores"]) for row in rows),
        learn_seconds=fmean(row["learn_seconds"] for row in rows),
        artifact_bytes=fmean(row["artifact_bytes"] for row in rows),
    )


def _mean(rows: Sequence[Mapping[str, Any]], metric: str) -> Interval | None:
    records = ((row["concept"], record) for row in rows for record in (row.get("sets", {}), *row["scores"]))
    pairs = [(record[metric], concept) for concept, record in records if metric in record]
    return bootstrap([value for value, _ in pairs], [concept for _, concept in pairs]) if pairs else None


def _verdict(rows: Sequence, base: Sequence, copied: Sequence, headline: tuple[str, str]) -> Verdict | None:
    pairs = ((base, headline[0]), (copied, headline[1]), (base, headline[1]))
    differences = [_difference(rows, other, metric) for other, metric in pairs]
    if any(difference is None for difference in differences):
        return None
    fidelity, obedience, price = differences
    return Verdict(fidelity=fidelity, obedience=obedience, price=price)


def _difference(rows: Sequence, others: Sequence, metric: str) -> Interval | None:
    treatment, control = by_prompt(rows, metric), by_prompt(others, metric)
    if not treatment.keys() & control.keys():
        return None
    return paired_difference(treatment, control, {key: key[0] for key in treatment})


def by_prompt(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[tuple[str, str], float]:
    """(concept, prompt) -> the metric's mean over seeds and samples."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for score in row["scores"]:
            if metric in score:
                values.setdefault((row["concept"], row["prompts"][score["prompt"]]), []).append(score[metric])
    return {key: fmean(group) for key, group in values.items()}
