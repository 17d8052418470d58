"""The page of a protocol's results: whose instruments judged, both aggregations, real pictures beside the recipes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from diffusers_persona.files import png, write_whole

from . import fid
from .grids import labelled_grid
from .host import toybox_fingerprints
from .protocols import Protocol
from .summary import METRICS, SET_METRICS, Summary, summarise
from .tables import interval, markdown_table, name_of, size

TOYBOX_ALONE = (
    "**No network of full size took part.** The Toybox's encoders know a drawn world of 64x64 pictures; on "
    "photographs their figures order nothing but themselves, and none of them can be compared with a published one. "
    "The *real-images* row shows it: it is what these instruments give for true photographs of one subject."
)
TOYBOX_BASE = (
    "**The base model is the Toybox itself**, 64 pixels wide and trained on drawings. Of a photograph it takes up "
    "colours, place and outline, seldom anything that a person would recognise; many of the class nouns and prompts "
    "are words that it never saw."
)
ALL_PAIRS = ("dino_i", "clip_i", "dino_i_masked", "clip_i_masked", "id", "face_found")
PAIRED = ("dino_i_paired", "clip_i_paired")
PROMPTS = ("clip_t", "reward")
COLUMNS = 6
"""Pictures a row of the grid."""


def current(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that can stand in one table: of the models and the settings of the newest."""

    def world(row: Mapping[str, Any]) -> tuple:
        settings = {name: value for name, value in row["settings"].items() if name != "batch"}
        models = row["base_fingerprint"], row["instruments_fingerprint"], row["instruments"].get("reward")
        return (*models, sorted(settings.items(), key=str))

    if not rows:
        return []
    newest = world(max(rows, key=lambda row: row["finished"]))
    return [row for row in rows if world(row) == newest]


def write(
    protocol: Protocol,
    rows: Sequence[Mapping[str, Any]],
    docs: Path,
    *,
    output: Path,
    pictures: Path | None = None,
    concepts: Sequence[Any] = (),
) -> Path:
    """Writes `<docs>/<protocol>.md`, and a grid of pictures where they were kept; returns the page's path.

    Args:
        protocol: what was run.
        rows: see `current`.
        docs: folder of the page.
        output: folder of the rows, which may hold `fid.json`.
        pictures: where the sweep kept its pictures.
        concepts: the subjects; a user's own pictures stand above the grid, those of a data set are not shown.
    """
    plot = None
    if pictures and (sheet := grid(rows, pictures, concepts if protocol.id == "folder" else ())):
        plot = f"images/{protocol.slug}.png"
        write_whole(docs / plot, png(sheet))
    path = docs / f"{protocol.slug}.md"
    write_whole(path, page(protocol, rows, plot=plot, distances=fid.read(output)).encode())
    return path


def page(
    protocol: Protocol,
    rows: Sequence[Mapping[str, Any]],
    *,
    plot: str | None = None,
    distances: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The page as Markdown.

    Args:
        protocol: what was run.
        rows: rows of the same models and settings.
        plot: path of the grid, as the page links to it.
        distances: what `fid.read` gives.
    """
    summaries = summarise(rows, headline=protocol.headline)
    recipes = [summary for summary in summaries if not summary.is_reference]
    parts = [
        f"# {title(protocol, rows)}",
        f"<!-- Written by `persona bench {protocol.id}`; edits are lost. -->",
        *([TOYBOX_ALONE] if _by_toybox(rows) else []),
        *([TOYBOX_BASE] if rows[0]["base_fingerprint"] == toybox_fingerprints()[0] else []),
        _introduction(protocol, rows, summaries),
        *([f"![Pictures of each row; the first of each prompt, never the best]({plot})"] if plot else []),
        "## Fidelity, all pairs (each picture with every reference)",
        _table(summaries, ALL_PAIRS),
        "## Fidelity, paired (each picture with one reference)",
        _table([summary for summary in summaries if summary.recipe != "real-images"], PAIRED),
        "## Obedience (the prompt without the token)",
        _table([summary for summary in summaries if summary.recipe != "real-images"], PROMPTS),
        "## Differences and costs",
        _differences(recipes, protocol.headline),
        *_sets(summaries, distances or {}),
        "## What measured",
        _instruments(rows),
        "## How to read it",
        _legend(rows, protocol),
    ]
    return "\n\n".join(parts) + "\n"


def title(protocol: Protocol, rows: Sequence[Mapping[str, Any]]) -> str:
    """The headline: what was run, who judged, and how much of the protocol it is."""
    judge = "the Toybox's instruments" if _by_toybox(rows) else "CLIP and DINO of full size"
    settings = rows[0]["settings"]
    count = len({row["concept"] for row in rows})
    prompts = max(len(row["prompts"]) for row in rows)
    shortened = "of the protocol's prompts" if settings["prompts"] else "prompts, all of them"
    return (
        f"{protocol.title}, scored by {judge} ({count} subject{'s' * (count > 1)}, {prompts} {shortened}, "
        f"{settings['images_per_prompt']} pictures each)"
    )


def grid(rows: Sequence[Mapping[str, Any]], pictures: Path, concepts: Sequence[Any] = ()) -> Image.Image | None:
    """The first picture of a prompt of up to six subjects, a row a recipe; None where no picture was kept."""
    recipes = [summary.recipe for summary in summarise(rows, headline=("dino_i", "clip_t"))]
    seeds = {(row["recipe"], row["concept"]): row for row in reversed(rows)}
    names = sorted({row["concept"] for row in rows if row["recipe"] == "base"})
    names = [names[i * len(names) // min(COLUMNS, len(names))] for i in range(min(COLUMNS, len(names)))]
    columns = [(name, i) for name in names for i in range(COLUMNS // len(names))] if names else []
    shown, titles = [], []
    for position, (name, number) in enumerate(columns):
        prompts = seeds["base", name]["prompts"]
        number = (position if len(names) > 1 else number) % len(prompts)
        columns[position] = (name, number)
        titles.append(f"{name}: {prompts[number].replace('{}', seeds['base', name]['noun'])}")
    for recipe in recipes:
        files = [
            pictures / recipe / name / str(seeds[recipe, name]["seed"]) / f"{number:02d}_0.png"
            for name, number in columns
            if (recipe, name) in seeds
        ]
        if files and any(file.is_file() for file in files):
            shown.append((recipe, [Image.open(file) if file.is_file() else None for file in files]))
    own = {concept.name: concept for concept in concepts}
    if shown and own:
        counted = {name: iter(own[name].references) for name in names}
        shown.insert(0, ("learned from these", [_next(counted[name]) for name, _ in columns]))
    return labelled_grid(shown, titles, titles_after=1 if own else 0) if shown else None


def _next(files: Any) -> Image.Image | None:
    file = next(files, None)
    return Image.open(file) if file else None


def _by_toybox(rows: Sequence[Mapping[str, Any]]) -> bool:
    return rows[0]["instruments"]["models"]["dino"].startswith("toybox/")


def _introduction(protocol: Protocol, rows: Sequence[Mapping[str, Any]], summaries: Sequence[Summary]) -> str:
    learned = [row for row in rows if row["learn_seconds"]] or rows
    settings, machine, versions = learned[0]["settings"], learned[0]["machine"], learned[0]["versions"]
    subjects = ", ".join(sorted({f"{row['concept']} ({row['noun']})" for row in rows}))
    seeds = max(summary.seeds for summary in summaries)
    return (
        f"{protocol.title} ({protocol.paper}). Subjects: {subjects}. {seeds} seed{'s' * (seeds > 1)}, "
        f"{settings['steps']} sampler steps, guidance {settings['guidance']:g}. Base model "
        f"`{rows[0]['base_fingerprint']}`. Brackets are 95 % bootstrap intervals over subjects. Times on "
        f"{machine['cpu']}, {machine['threads']} thread(s); torch {versions['torch']}, diffusers "
        f"{versions['diffusers']}, transformers {versions['transformers']}, peft {versions['peft']}."
    )


def _table(summaries: Sequence[Summary], columns: Sequence[str]) -> str:
    headings = METRICS | SET_METRICS
    present = [column for column in columns if any(column in summary.means for summary in summaries)]
    rows = [
        [name_of(summary), *(interval(summary.means.get(column)) for column in present), str(summary.concepts)]
        for summary in summaries
    ]
    return markdown_table(["", *(headings[column] for column in present), "subjects"], rows)


def _differences(recipes: Sequence[Summary], headline: tuple[str, str]) -> str:
    fidelity, obedience = (METRICS[name] for name in headline)
    headings = [
        "",
        f"{fidelity} - base",
        f"{obedience} - copy-paste",
        f"{obedience} - base",
        "learning (s)",
        "artifact",
    ]
    rows = []
    for summary in recipes:
        verdict = summary.verdict
        differences = (verdict.fidelity, verdict.obedience, verdict.price) if verdict else (None, None, None)
        costs = [f"{summary.learn_seconds:.1f}", size(summary.artifact_bytes)]
        rows.append([name_of(summary), *(interval(each, signed=True) for each in differences), *costs])
    return markdown_table(headings, rows)


def _sets(summaries: Sequence[Summary], distances: Mapping[str, Mapping[str, Any]]) -> list[str]:
    parts = []
    measured = [summary for summary in summaries if any(name in summary.means for name in SET_METRICS)]
    if measured:
        parts += ["## Preservation of the class and diversity", _table(measured, tuple(SET_METRICS))]
    if distances:
        rows = [
            [f"`{name}`", f"{each['fid']:.3f}", str(each["pictures"]), str(each["real"])]
            for name, each in distances.items()
        ]
        features = next(iter(distances.values()))["features"]
        parts += [f"## FID (features: {features})", markdown_table(["", "FID", "pictures", "real pictures"], rows)]
    return parts


def _instruments(rows: Sequence[Mapping[str, Any]]) -> str:
    used = rows[0]["instruments"]
    scored = {name for row in rows for score in row["scores"] for name in score}
    metrics = {
        "dino": "DINO-I, PRES; feature maps of its layers: DIV",
        "clip": "CLIP-I, CLIP-T",
        **({"segmenter": "masks"} if "dino_i_masked" in scored else {}),
        **({"face": "ID"} if "id" in scored else {}),
    }
    lines = [
        [metrics[name], model, used["preprocessing"][name]]
        for name, model in used["models"].items()
        if name in metrics
    ]
    lines += [["reward", used["reward"], "its own"]] if used.get("reward") else []
    return markdown_table(["metric", "model", "preprocessing"], lines, text_columns=3)


def _legend(rows: Sequence[Mapping[str, Any]], protocol: Protocol) -> str:
    masked = "" if rows[0]["masking"] == "none" else f" Masked: in both pictures, {rows[0]['masking']}."
    return (
        "- *real-images*: each reference against the others of its subject, the calibration of the scale; *base*: the "
        "class noun in place of the concept; *copy-paste*: a reference picture whatever the prompt says.\n"
        "- DINO-I, CLIP-I: raw cosines of image embeddings; all pairs as in DreamBooth and Custom Diffusion, paired "
        "as in DreamBench++ (picture k of prompt i with reference i + k, counted round). CLIP-T: raw cosine of the "
        f"picture to the prompt with the class noun in the concept's place.{masked}\n"
        "- PRES: likeness to the concept of pictures of the class, made with the concept attached but not named. DIV: "
        "perceptual distance (LPIPS without its learned weights) between pictures of one prompt, or of the class.\n"
        f"- Differences are paired by subject, prompt and noise. The paper generates {protocol.images_per_prompt} "
        f"picture{'s' * (protocol.images_per_prompt > 1)} a prompt. The data: {protocol.source}."
    )
