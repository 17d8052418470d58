"""Markdown pages made from results and from the registry: the scoreboard and the table of methods."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers_persona.files import write_whole

from .statistics import Interval
from .summary import FIDELITY, METRICS, OBEDIENCE, Summary, summarise

KINDS = {"objects and animals": ("object", "live"), "people": ("person",), "styles": ("style",)}
FIDELITY_COLUMNS = ("dino_i_masked", "dino_i", "clip_i_masked", "clip_i", "id", "recognised")
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
    rows: Sequence[Mapping[str, Any]], *, plot: str = "images/pareto.png", families: Mapping[str, str] | None = None
) -> str:
    """The page of ToyBench's results, as Markdown, from rows of the same models.

    Args:
        rows: result rows.
        plot: path of the plot, as the page links to it.
        families: recipe -> family; the tables go by family, then by fidelity. A recipe without one comes first.
    """
    families = families or {}
    summaries = sorted(summarise(rows), key=lambda each: (not each.is_reference, families.get(each.recipe, "")))
    recipes = [summary for summary in summaries if not summary.is_reference]
    parts = [
        "# Scoreboard: ToyBench",
        "<!-- Written by `persona bench toybench`; edits are lost. -->",
        _introduction(rows, summaries),
        f"![Fidelity against obedience]({plot})",
        "## What the figures say",
        _verdicts(recipes),
        _main_table(summaries, families),
        "## Fidelity: does it look like the concept?",
        _metric_table(summaries, FIDELITY_COLUMNS),
        "## Obedience: does the prompt still rule?",
        _metric_table(summaries, OBEDIENCE_COLUMNS),
        *_by_kind(rows, summaries),
        "## How to read it",
        _legend(rows),
    ]
    return "\n\n".join(parts) + "\n"


def write_scoreboard(
    rows: Sequence[Mapping[str, Any]], path: Path, *, families: Mapping[str, str] | None = None
) -> None:
    """Writes `scoreboard` to a file, atomically."""
    write_whole(path, scoreboard(rows, families=families).encode())


def _introduction(rows: Sequence[Mapping[str, Any]], summaries: Sequence[Summary]) -> str:
    concepts = sorted({(row["kind"], row["concept"]) for row in rows})
    learned = [row for row in rows if row["learn_seconds"]] or rows
    settings, machine, versions = learned[0]["settings"], learned[0]["machine"], learned[0]["versions"]
    names = ", ".join(f"{name} ({kind})" for kind, name in concepts)
    seeds = max(summary.seeds for summary in summaries)
    return (
        f"{len(concepts)} held-out concepts of the Toybox, never seen in training: {names}. Each recipe learns each "
        f"concept from its reference pictures with {seeds} seed{'s' * (seeds > 1)}, and generates "
        f"{settings['images_per_prompt']} pictures of every prompt ({settings['steps']} steps, guidance "
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


def _main_table(summaries: Sequence[Summary], families: Mapping[str, str]) -> str:
    """One line a row: family, verdict, the two headlines with their differences, costs."""
    headings = ["", "family", "passes", "fidelity", "- base", "obedience", "- copy-paste", "- base"]
    headings += ["learning (s)", "artifact", "concepts x seeds", "pictures"]
    lines = []
    for each in summaries:
        verdict = each.verdict
        fidelity, obedience, price = (
            (verdict.fidelity, verdict.obedience, verdict.price) if verdict else (None, None, None)
        )
        judged = verdict and verdict.fidelity.low is not None
        lines.append(
            [
                name_of(each),
                families.get(each.recipe, ""),
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
        )
    return markdown_table(headings, lines, text_columns=3)


def _metric_table(summaries: Sequence[Summary], columns: Sequence[str]) -> str:
    """Means alone: the intervals of the headlines stand in the main table."""
    shown = [each for each in summaries if any(column in each.means for column in columns)]
    present = [column for column in columns if any(column in each.means for each in shown)]
    rows = [
        [name_of(each), *(f"{each.means[c].mean:.3f}" if c in each.means else "-" for c in present)] for each in shown
    ]
    return markdown_table(["", *(METRICS[column] for column in present)], rows)


def _by_kind(rows: Sequence[Mapping[str, Any]], order: Sequence[Summary]) -> list[str]:
    """Fidelity and obedience for each kind of concept, side by side, where there are several kinds."""
    groups = {title: kinds for title, kinds in KINDS.items() if any(row["kind"] in kinds for row in rows)}
    if len(groups) < 2:
        return []
    found = {title: {each.recipe: each for each in summarise(rows, kinds=kinds)} for title, kinds in groups.items()}
    counts = {title: len({row["concept"] for row in rows if row["kind"] in kinds}) for title, kinds in groups.items()}
    headings = [f"{title} ({counts[title]}): {what}" for title in groups for what in ("fidelity", "obedience")]
    lines = []
    for each in order:
        own = [found[title].get(each.recipe) for title in groups]
        lines.append(
            [name_of(each), *(interval(one and one.means.get(m)) for one in own for m in (FIDELITY, OBEDIENCE))]
        )
    return ["## By kind of concept", markdown_table(["", *headings], lines)]


def name_of(summary: Summary) -> str:
    """A row's name in a table: code for a recipe, italics for a reference row."""
    return f"*{summary.recipe}*" if summary.is_reference else f"`{summary.recipe}`"


def _legend(rows: Sequence[Mapping[str, Any]]) -> str:
    return (
        "- *real-images*: each reference against the others, what these instruments give for true pictures of one "
        "thing; *base*: the class noun in place of the concept; *oracle*: real renderings of the concept in each "
        "prompt, the ceiling; *copy-paste*: a reference picture whatever the prompt says.\n"
        "- Fidelity is DINO-I masked, obedience the share of what the prompt asks for that is there.\n"
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
