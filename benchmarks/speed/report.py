"""The table of `benchmarks/speed/README.md` and its plot, from the stored rows."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
START, STOP = "<!-- rows -->", "<!-- end of rows -->"


def write(rows: list[dict]):
    """Renews the table between the marks of the README, and `speed.png`."""
    page = FOLDER / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    after = rest.partition(STOP)[2]
    page.write_text(f"{before}{START}\n{table(rows)}\n{STOP}{after}", encoding="utf-8")
    plot([row for row in rows if "ratio" in row], FOLDER / "speed.png")


def table(rows: list[dict]) -> str:
    """One line a row: what, the number, the target and whether it is met."""
    lines = ["| what | measured | target | met | command |", "|---|---|---|---|---|"]
    for row in rows:
        spread = f" [{row['quartiles'][0]:.2f}, {row['quartiles'][1]:.2f}]" if "quartiles" in row else ""
        curve = "; ".join(f"N={n}: {value:.2f}" for n, value in row.get("curve", {}).items())
        number = curve or f"{row.get('ratio', row.get('value')):.3g}{spread}"
        met = {True: "yes", False: "**no**", None: ""}[is_met(row)]
        lines.append(f"| {row['what']} | {number} | {row['target']} | {met} | `{row['command']}` |")
    machines = sorted({row["machine"] for row in rows})
    return "\n".join([*lines, "", f"Measured on {'; '.join(machines)}."])


def is_met(row: dict) -> bool | None:
    """Whether the row's number keeps its target; None where the target is no bound."""
    bound = re.match(r"<=? *([\d.]+)", row["target"])
    value = row.get("ratio", row.get("value"))
    return None if bound is None or value is None else value <= float(bound.group(1))


def plot(rows: list[dict], path: Path):
    """Ratios with their quartiles, and each one's target."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.34 * len(rows) + 1.4), layout="constrained")
    for place, row in enumerate(reversed(rows)):
        low, high = row.get("quartiles", [row["ratio"]] * 2)
        colour = "tab:green" if is_met(row) else "tab:red"
        axes.plot([low, high], [place, place], color=colour, linewidth=3, alpha=0.4)
        axes.plot(row["ratio"], place, "o", color=colour)
        bound = re.match(r"<=? *([\d.]+)", row["target"])
        if bound:
            axes.plot(float(bound.group(1)), place, "|", color="black", markersize=12)
    axes.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
    axes.axvline(1, color="0.8", zorder=0)
    axes.set_xlabel("ratio of times (bar: quartiles; black mark: target)")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
