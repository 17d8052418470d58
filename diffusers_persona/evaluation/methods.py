"""The table of methods, `docs/methods.md`, made from the registry and the evidence: there is no second list.

python -m diffusers_persona.evaluation.methods [path]
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffusers_persona.files import write_whole

from .levels import LEVELS, PROMISES, Evidence, levels, read_evidence
from .tables import markdown_table

MARKS = {"pass": "yes", "fail": "**no**", "unknown": "?"}


def methods_page(entries: Sequence, evidence: Evidence) -> str:
    """The page as Markdown: a table of all entries, then what stands behind each.

    Args:
        entries: `RecipeEntry` objects (see `recipes.list()`).
        evidence: see `levels.read_evidence`.
    """
    proven = {entry.id: levels(entry.id, evidence=evidence) for entry in entries}
    parts = [
        "# Methods",
        "<!-- Written by `make methods` from the registry and the evidence; edits are lost. -->",
        f"{len(entries)} recipes. What a recipe is proven to do is computed, never typed: *contract* (attaches, "
        "detaches, saves, resumes; the conformance tests), *parity* (its maths against the paper's equations or the "
        "official code), *efficacy* ([scoreboard](scoreboard.md): beats the base on fidelity and copy-paste on "
        "obedience, outside the 95 % interval), *formats* (reads and writes the files that others use). *promises*: "
        "what a recipe promises against a plain method (TI is `textual-inversion`, DB `dreambooth`, CD "
        "`custom-diffusion`), and whether it holds on the same concepts. `?` means: no evidence yet.",
        _table(entries, proven, evidence),
        *(_section(entry, evidence.get(entry.id, {})) for entry in entries),
    ]
    return "\n\n".join(parts) + "\n"


def _table(entries: Sequence, proven: Mapping[str, Mapping[str, str]], evidence: Evidence) -> str:
    """One line a recipe, by family and category."""
    rows = [
        [
            f"{entry.family} / {entry.category}",
            f"[`{entry.id}`](#{entry.id})",
            entry.learns + (f" (from {entry.pictures})" if entry.pictures else ""),
            counted(entry.space),
            ", ".join(entry.backbones),
            *(MARKS[proven[entry.id][level]] for level in LEVELS),
            _promises(entry, evidence.get(entry.id, {})),
        ]
        for entry in sorted(entries, key=lambda entry: (entry.family, entry.category, entry.id))
    ]
    headings = ["family", "recipe", "learns", "space", "backbones", *LEVELS, "promises"]
    return markdown_table(headings, rows, text_columns=len(headings))


def counted(kinds: Sequence[str]) -> str:
    """`word x 2 + low_rank`: equal kinds are counted."""
    return " + ".join(
        kind + (f" x {kinds.count(kind)}" if kinds.count(kind) > 1 else "") for kind in dict.fromkeys(kinds)
    )


def _promises(entry, records: Mapping[str, Mapping]) -> str:
    """`editable > TI: yes`, one a promise."""
    found = records.get(PROMISES, {})
    short = {"textual-inversion": "TI", "dreambooth": "DB", "custom-diffusion": "CD", "lora": "LoRA"}
    parts = []
    for kind, other in entry.promise:
        holds = found.get(f"{kind}, against {other}", {}).get("holds")
        mark = MARKS[{True: "pass", False: "fail", None: "unknown"}[holds]]
        parts.append(f"{kind} > {short.get(other, other)}: {mark}")
    return ", ".join(parts)


def _section(entry, records: Mapping[str, Mapping]) -> str:
    paper = f"[arXiv {entry.paper}](https://arxiv.org/abs/{entry.paper})" if entry.paper else "no preprint"
    code = f"Official code: {entry.code or 'none'}" + (f"; its licence: {entry.licence}" if entry.licence else "")
    numbers = ", ".join(f"`{name}={value!r}`" for name, value in entry.defaults.items())
    lines = [
        f"## {entry.id}",
        f"{entry.name}. {paper}, survey reference {entry.ref}. {code}.",
        f"- Numbers: {numbers}",
    ]
    if entry.miniature:
        lines.append(
            "- On miniature hosts: " + ", ".join(f"`{name}={value!r}`" for name, value in entry.miniature.items())
        )
    lines.append(f"- Departures from the paper: {entry.departures}")
    lines += [f"- {level}: {_evidence(level, records[level])}" for level in LEVELS if level in records]
    lines += [f"- promise, {name}: {_outcome(each)}" for name, each in records.get(PROMISES, {}).items()]
    return "\n".join([lines[0], "", lines[1], "", *lines[2:]])


def _outcome(record: Mapping) -> str:
    words = {True: "holds here", False: "**does not hold here**", None: "not measured on two concepts or more"}
    return f"{words[record['holds']]} ({record['difference']})"


def _evidence(level: str, record: Mapping) -> str:
    if level != "efficacy":
        return ", ".join(f"{count} tests {outcome}" for outcome, count in record.items() if count)
    pairs = (
        ("fidelity over the base", "fidelity_over_base"),
        ("obedience over copy-paste", "obedience_over_copy_paste"),
    )
    gains = ", ".join(f"{title} {_gain(record[key])}" for title, key in pairs)
    failed = "" if record["passed"] else "**does not beat the base** outside the interval, or copies: "
    return f"{failed}{gains} ({record['concepts']} concepts, {record['seeds']} seeds)"


def _gain(numbers: Mapping[str, float | None]) -> str:
    bounds = "" if numbers["low"] is None else f" [{numbers['low']:+.3f}, {numbers['high']:+.3f}]"
    return f"{numbers['mean']:+.3f}{bounds}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page to the path given, by default `docs/methods.md`."""
    from diffusers_persona import recipes

    arguments = sys.argv[1:] if arguments is None else arguments
    path = Path(arguments[0] if arguments else "docs/methods.md")
    write_whole(path, methods_page(recipes.list(), read_evidence()).encode())
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
