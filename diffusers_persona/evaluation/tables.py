"""Markdown pages made from results and from the registry: the scoreboard and the table of methods."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers_persona.files import write_whole

from .boards import board_of, order
from .promises import MEASURES
from .statistics import Interval
from .summary import FIDELITY, METRICS, OBEDIENCE, SET_METRICS, Summary, summarise

FIDELITY_COLUMNS = (
    "fidelity", "dino_i_masked", "dino_i", "clip_i_masked", "clip_i", "id", "style_i", "relation", "recognised"
)  # fmt: skip
SET_COLUMNS = ("pres", "class_div", "leak")
OBEDIENCE_COLUMNS = ("obedience", "clip_t", "background", "style", "second_object", "content", "attribute")


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """A GitHub table; the first `text_columns` are left-aligned, the others right; pipes in cells are escaped."""
    rule = ["---"] * text_columns + ["---:"] * (len(headings) - text_columns)
    lines = [" | ".join(str(cell).replace("|", "\\|") for cell in line) for line in (headings, rule, *rows)]
    return "\n".join(f"| {line} |" for line in lines)


def interval(value: Interval | None, *, signed: bool = False) -> str:
    """`0.712 [0.650, 0.770]`; a dash where there is nothing, the bare mean where there is no interval."""
    if value is None:
        return "-"
    number = "{:+.3f}" if signed else "{:.3f}"
    mean = number.format(value.mean)
    if value.low is None:
        return mean
    return f"{mean} [{number.format(value.low)}, {number.format(value.high)}]"


def size(count: float) -> str:
    """Bytes for people: `1.5 kB`, `3.2 MB`; a dash for nothing."""
    if not count:
        return "-"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def scoreboard(
    rows: Sequence[Mapping[str, Any]],
    summaries: Sequence[Summary],
    *,
    plot: str = "images/pareto.png",
    boards: Mapping[str, str] | None = None,
    promises: Mapping[str, Sequence[Any]] | None = None,
) -> str:
    """The page of ToyBench's results, as Markdown, from rows of the same models and settings.

    Args:
        rows: all result rows.
        summaries: what each recipe is judged by, from the rows of its own board (see `toybench.own_rows`).
        plot: path of the plot, as the page links to it.
        boards: recipe -> its board; the table goes by board, then by fidelity.
        promises: recipe -> `promises.Outcome` objects.
    """
    boards = boards or {}
    recipes = [summary for summary in summaries if not summary.is_reference]
    ordered = sorted(summaries, key=lambda each: (not each.is_reference, boards.get(each.recipe, "")))
    parts = [
        "# Scoreboard: ToyBench",
        "<!-- Written by `persona bench toybench`; edits are lost. -->",
        _introduction(rows, summaries),
        f"![Fidelity against obedience]({plot})",
        "## What the figures say",
        _verdicts(recipes),
        "## All recipes, by what they learn from",
        _main_table(rows, summaries, boards),
        *_promises(promises or {}),
        "## Fidelity: does it look like the concept?",
        _metric_table(ordered, FIDELITY_COLUMNS),
        "## Obedience: does the prompt still rule?",
        _metric_table(ordered, OBEDIENCE_COLUMNS),
        "## What else was changed",
        _metric_table(ordered, SET_COLUMNS),
        "## How to read it",
        _legend(rows),
    ]
    return "\n\n".join(parts) + "\n"


def write_scoreboard(rows: Sequence[Mapping[str, Any]], summaries: Sequence[Summary], path: Path, **options) -> None:
    """Writes `scoreboard` to a file, atomically."""
    write_whole(path, scoreboard(rows, summaries, **options).encode())


def _introduction(rows: Sequence[Mapping[str, Any]], summaries: Sequence[Summary]) -> str:
    concepts = sorted({(row["kind"], row["concept"]) for row in rows})
    learned = [row for row in rows if row["learn_seconds"]] or rows
    settings, machine, versions = learned[0]["settings"], learned[0]["machine"], learned[0]["versions"]
    by_kind: dict[str, list[str]] = {}
    for kind, name in concepts:
        if "@" not in name:
            by_kind.setdefault(kind, []).append(name)
    names = "; ".join(f"{kind}: {', '.join(group)}" for kind, group in by_kind.items())
    seeds = max(summary.seeds for summary in summaries)
    return (
        f"{sum(map(len, by_kind.values()))} held-out concepts of the Toybox, never seen in training: {names}. Each "
        f"recipe learns the concepts that it is for from their reference pictures with {seeds} "
        f"seed{'s' * (seeds > 1)}, and generates "
        f"{settings['images_per_prompt']} picture{'s' * (settings['images_per_prompt'] > 1)} of each of "
        f"{max(len(row['prompts']) for row in rows)} prompts ({settings['steps']} steps, guidance "
        f"{settings['guidance']:g}). Brackets are 95 % bootstrap intervals over concepts. "
        f"Base model `{rows[0]['base_fingerprint']}`, instruments `{rows[0]['instruments_fingerprint']}`; times on "
        f"{machine['cpu']}, {machine['threads']} thread(s); torch {versions['torch']}, diffusers "
        f"{versions['diffusers']}, transformers {versions['transformers']}, peft {versions['peft']}."
    )


def _verdicts(recipes: Sequence[Summary]) -> str:
    """Which recipes pass, which fail and by what, which cannot be judged."""
    judged = [each for each in recipes if each.verdict and each.verdict.fidelity.low is not None]
    passed = [each for each in judged if each.verdict.passed]
    beat = "beat the base on fidelity and copy-paste on obedience, both outside the 95 % interval"
    lines = [f"- **{len(passed)} of {len(judged)}** recipes {beat}: {_names(passed)}."] if judged else []
    groups = {
        "**Does not beat the base** on fidelity": [each for each in judged if not each.verdict.fidelity.above_zero],
        "**Does not obey more than copy-paste**": [each for each in judged if not each.verdict.obedience.above_zero],
        "Pays with obedience, against the base": [each for each in judged if each.verdict.price.below_zero],
        "No verdict: one concept gives no interval, or base or copy-paste rows are missing": [
            each for each in recipes if each not in judged
        ],
    }
    lines += [f"- {title}: {_names(found)}." for title, found in groups.items() if found]
    return "\n".join(lines) or "No recipe was run yet."


def _names(summaries: Sequence[Summary]) -> str:
    return ", ".join(map(name_of, summaries)) or "none"


def _main_table(rows: Sequence[Mapping[str, Any]], summaries: Sequence[Summary], boards: Mapping[str, str]) -> str:
    """The boards one below the other: the reference rows of each, and whatever was learned on it."""
    headings = ["learns from", "", "passes", "fidelity", "- base", "obedience", "- copy-paste", "- base"]
    headings += ["learning (s)", "artifact", "concepts x seeds", "pictures"]
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(board_of(row["concept"]) or "", []).append(row)
    lines = []
    for board in [*order([name for name in grouped if name]), *([""] if "" in grouped else [])]:
        for each in summarise(grouped[board]):
            visiting = not each.is_reference and boards.get(each.recipe, board) != board
            lines.append([board, name_of(each) + (" (to compare)" if visiting else ""), *_figures(each)])
    return markdown_table(headings, lines, text_columns=3)


def _figures(each: Summary) -> list[str]:
    """Verdict, the two headlines with their differences, costs."""
    verdict = each.verdict
    fidelity, obedience, price = (verdict.fidelity, verdict.obedience, verdict.price) if verdict else (None,) * 3
    judged = verdict and verdict.fidelity.low is not None
    return [
        "" if each.is_reference else ("yes" if verdict.passed else "**no**") if judged else "?",
        interval(each.means.get(FIDELITY)),
        interval(fidelity, signed=True),
        interval(each.means.get(OBEDIENCE)),
        interval(obedience, signed=True),
        interval(price, signed=True),
        "-" if each.is_reference else f"{each.learn_seconds:.1f}",
        size(each.artifact_bytes),
        f"{each.concepts} x {each.seeds}",
        str(each.pictures),
    ]


def _promises(found: Mapping[str, Sequence[Any]]) -> list[str]:
    """What recipes promise against a plain method, and whether it holds here."""
    marks = {True: "yes", False: "**no**", None: "?"}
    lines = [
        [f"`{recipe}`", each.kind, f"`{each.against}`", marks[each.holds], MEASURES[each.kind].title, each.text]
        for recipe, outcomes in sorted(found.items())
        for each in outcomes
    ]
    headings = ["", "promise", "against", "holds", "measured by", "difference"]
    return ["## What recipes promise", markdown_table(headings, lines, text_columns=5)] if lines else []


def _metric_table(summaries: Sequence[Summary], columns: Sequence[str]) -> str:
    """Means alone: the intervals of the headlines stand in the main table."""
    shown = [each for each in summaries if any(column in each.means for column in columns)]
    present = [column for column in columns if any(column in each.means for each in shown)]
    rows = [
        [name_of(each), *(f"{each.means[c].mean:.3f}" if c in each.means else "-" for c in present)] for each in shown
    ]
    return markdown_table(["", *((METRICS | SET_METRICS)[column] for column in present)], rows)


def name_of(summary: Summary) -> str:
    """A row's name in a table: code for a recipe, italics for a reference row."""
    return f"*{summary.recipe}*" if summary.is_reference else f"`{summary.recipe}`"


def _legend(rows: Sequence[Mapping[str, Any]]) -> str:
    return (
        "- *real-images*: each reference against the others, what these instruments give for true pictures of one "
        "thing; *base*: the class noun in place of the concept; *oracle*: real renderings of the concept in each "
        "prompt, the ceiling; *copy-paste*: a reference picture whatever the prompt says.\n"
        "- Fidelity is what counts for the kind of concept: DINO-I masked for things and people, style likeness for "
        "styles, the share of right relations for relations. Of several things it is the mean over those that a "
        "prompt names; where it names two things, the share of them that the classifier finds. Obedience is the share "
        "of what the prompt asks for that is there.\n"
        "- Recipes are held to the concepts that they are for. `person@1`: from one picture. Rows *to compare*: plain "
        "methods on the same board. `several`: two things in the same pictures; `stylised`: a thing and a style from "
        "one picture; `pair`: a style from a plain and a styled picture; `merged`: a thing and a style, learned one "
        "by one; `portrait`: a person and a style, from pictures of each. A method that learns one thing at a time "
        "learns these one after the other.\n"
        "- Style likeness: cosine of the statistics of early feature maps, less what plain pictures have in common.\n"
        "- PRES: likeness of pictures of the class word, made with the concept attached, to the concept. References' "
        "backgrounds: share of the pictures of the bare phrase that show one.\n"
        "- A promise holds where the whole interval of the paired difference lies on the promised side.\n"
        "- DINO-I, CLIP-I: mean cosine of a generated picture to all reference pictures. CLIP-T: cosine to the "
        "prompt with the learned token dropped. ID: cosine of face embeddings to all references. All raw, in the "
        "Toybox's own encoders: compare them within this page alone.\n"
        f"- masked: in generated and reference pictures alike, {rows[0]['masking']}.\n"
        "- recognised: the classifier, which knows all names, puts the concept's own first.\n"
        "- obedience: share of what the prompt asks for that the classifiers find: background, style, second object "
        "(among the two likeliest nouns), content (what a picture in a learned style shows), look (glasses, a "
        "smile).\n- Differences are paired by concept and prompt (and noise, against the base). A recipe beats the "
        "base when the whole interval is above zero. An interval over few concepts is itself rough."
    )
