"""Markdown pages made from results and from the registry: the scoreboard and the table of methods."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers_persona.files import write_whole

from .statistics import Interval
from .summary import METRICS, Summary, summarise

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


def scoreboard(rows: Sequence[Mapping[str, Any]], *, plot: str = "images/pareto.png") -> str:
    """The page of a benchmark's results, as Markdown, from rows of the same models."""
    summaries = summarise(rows)
    recipes = [summary for summary in summaries if not summary.is_reference]
    parts = [
        "# Scoreboard: ToyBench",
        "<!-- Written by `persona bench toybench`; edits are lost. -->",
        _introduction(rows, summaries),
        f"![Fidelity against obedience]({plot})",
        "## What the figures say",
        "\n".join(_sentence(summary) for summary in recipes) or "No recipe was run yet.",
        "## Fidelity: does it look like the concept?",
        _metric_table(summaries, FIDELITY_COLUMNS),
        "## Obedience: does the prompt still rule?",
        _metric_table(summaries, OBEDIENCE_COLUMNS),
        "## Differences and costs",
        _difference_table(recipes),
    ]
    for title, kinds in KINDS.items():
        selected = summarise(rows, kinds=kinds)
        if selected and len({row["kind"] in kinds for row in rows}) > 1:
            parts += [
                f"## Only {title}",
                _metric_table(selected, ("dino_i_masked", "id", "recognised", *OBEDIENCE_COLUMNS[:2])),
            ]
    parts += ["## How to read it", _legend(rows)]
    return "\n\n".join(parts) + "\n"


def write_scoreboard(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes `scoreboard` to a file, atomically."""
    write_whole(path, scoreboard(rows).encode())


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


def _sentence(summary: Summary) -> str:
    verdict = summary.verdict
    if verdict is None:
        return f"- `{summary.recipe}`: not comparable, since its base or copy-paste rows are missing."
    if verdict.fidelity.low is None:
        gain = interval(verdict.fidelity, signed=True)
        return f"- `{summary.recipe}`: {gain} fidelity over the base on one concept, which gives no interval."
    beats = "beats the base" if verdict.fidelity.above_zero else "**does not beat the base**"
    obeys = "obeys more than copy-paste" if verdict.obedience.above_zero else "**does not obey more than copy-paste**"
    price = "and pays for it with obedience" if verdict.price.below_zero else "at no measurable cost of obedience"
    return (
        f"- `{summary.recipe}` {beats} on fidelity ({interval(verdict.fidelity, signed=True)}), {obeys} "
        f"({interval(verdict.obedience, signed=True)}), {price} ({interval(verdict.price, signed=True)} against the "
        "base)."
    )


def _metric_table(summaries: Sequence[Summary], columns: Sequence[str]) -> str:
    present = [column for column in columns if any(column in summary.means for summary in summaries)]
    rows = [
        [_name(summary), *(interval(summary.means.get(column)) for column in present), str(summary.concepts)]
        for summary in summaries
    ]
    return markdown_table(["", *(METRICS[column] for column in present), "concepts"], rows)


def _difference_table(recipes: Sequence[Summary]) -> str:
    headings = [
        "",
        "fidelity - base",
        "obedience - copy-paste",
        "obedience - base",
        "learning (s)",
        "artifact",
        "pictures",
    ]
    rows = []
    for summary in recipes:
        verdict = summary.verdict
        differences = (verdict.fidelity, verdict.obedience, verdict.price) if verdict else (None, None, None)
        cells = [interval(difference, signed=True) for difference in differences]
        rows.append(
            [
                _name(summary),
                *cells,
                f"{summary.learn_seconds:.1f}",
                size(summary.artifact_bytes),
                str(summary.pictures),
            ]
        )
    return markdown_table(headings, rows)


def _name(summary: Summary) -> str:
    return f"*{summary.recipe}*" if summary.is_reference else f"`{summary.recipe}`"


def _legend(rows: Sequence[Mapping[str, Any]]) -> str:
    return (
        "- *base*: the class noun in place of the concept; *oracle*: real renderings of the concept in each prompt, "
        "the ceiling; *copy-paste*: a reference picture whatever the prompt says.\n"
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
