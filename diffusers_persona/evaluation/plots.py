"""Plots of results: fidelity against obedience with intervals. Needs matplotlib (extra `bench`)."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffusers_persona.errors import PersonaError
from diffusers_persona.files import write_whole

from .summary import FIDELITY, METRICS, OBEDIENCE, Summary

COLOURS = (
    "#2563eb", "#d9480f", "#2b8a3e", "#9c36b5", "#0b7285", "#c2255c", "#8d6e00", "#495057", "#6b3fa0", "#00897b"
)  # fmt: skip
LINE = 0.17
"""Height of a line of names, in inches."""
TITLES = {OBEDIENCE: "share of what the prompt asks", FIDELITY: "likeness (foreground, style or relation)"}
REFERENCE_STYLE = {
    "base": ("s", "base (class noun)"),
    "copy-paste": ("D", "copy-paste"),
    "oracle": ("*", "oracle (real)"),
}


def pareto(
    summaries: Sequence[Summary],
    path: str | Path,
    *,
    x: str = OBEDIENCE,
    y: str = FIDELITY,
    families: Mapping[str, str] | None = None,
) -> Path:
    """Draws every summary that has both metrics as a labelled point with its 95 % intervals; returns the PNG's path.

    The dashed line is the front of the recipes: none of the others is better on both axes. Names stand in a column
    beside the points, so that they never cover each other, however many there are.

    Args:
        summaries: what to draw.
        path: of the PNG.
        x, y: the metrics of the axes.
        families: recipe -> family, which chooses the colour; without it every recipe has its own.

    Raises:
        PersonaError: matplotlib is missing, or no summary has both metrics.
    """
    pyplot = _pyplot()
    shown = [summary for summary in summaries if x in summary.means and y in summary.means]
    if not shown:
        raise PersonaError(f"no result has both {x!r} and {y!r}: nothing to plot.")
    recipes = [summary for summary in shown if not summary.is_reference]
    colours = _colours(recipes, families or {})
    height = max(5.6, 1.3 * LINE * len(recipes))
    figure, panels = pyplot.subplots(
        1, 2 if recipes else 1, figsize=(13 if recipes else 7, height), dpi=150, squeeze=False
    )
    for axes, zoomed in zip(panels[0], (False, True), strict=False):
        _panel(axes, recipes if zoomed else shown, x, y, colours)
        _front(axes, [(summary.means[x].mean, summary.means[y].mean) for summary in recipes])
        _decorate(axes, x, y, zoomed=zoomed)
        if zoomed:
            _name_beside(axes, recipes, x, y, colours)
    if families and len(set(colours.values())) > 1:
        _key(panels[0][0], recipes, colours, families)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", facecolor="white", metadata={"Software": None})
    pyplot.close(figure)
    write_whole(Path(path), buffer.getvalue())
    return Path(path)


def _colours(recipes: Sequence[Summary], families: Mapping[str, str]) -> dict[str, str]:
    """Recipe -> colour: one a family, or one a recipe where none has a family."""
    groups = {each.recipe: families.get(each.recipe, "" if families else each.recipe) for each in recipes}
    order = sorted(set(groups.values()))
    return {recipe: COLOURS[order.index(group) % len(COLOURS)] for recipe, group in groups.items()}


def _panel(axes, shown: Sequence[Summary], x: str, y: str, colours: Mapping[str, str]) -> None:
    """The points with their bars, which fade as they become many; reference rows are named where they stand."""
    fade = min(1.0, 8 / max(len(colours), 1))
    places = [summary.means[x].mean for summary in shown]
    middle = (min(places) + max(places)) / 2
    for summary in shown:
        marker, title = REFERENCE_STYLE.get(summary.recipe, ("o", ""))
        colour = colours.get(summary.recipe, "#868e96")
        size = 13 if marker == "*" else 8
        _point(axes, summary.means[x], summary.means[y], fade, marker=marker, markersize=size, color=colour)
        if title:
            right = summary.means[x].mean < middle
            place = {"xytext": (12 if right else -12, 9), "ha": "left" if right else "right"}
            at = (summary.means[x].mean, summary.means[y].mean)
            axes.annotate(title, at, textcoords="offset points", color=colour, fontsize=10, zorder=5, **place)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats on both coordinates (more is better), from left to right."""
    best, kept = float("-inf"), []
    for point in sorted(points, key=lambda point: (-point[0], -point[1])):
        if point[1] > best:
            best = point[1]
            kept.append(point)
    return kept[::-1]


def _pyplot():
    try:
        import matplotlib
    except ImportError:
        raise PersonaError("plots need matplotlib: pip install 'diffusers-persona[bench]'.") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _point(axes, x, y, fade: float, **style) -> None:
    def arms(value):
        return None if value.low is None else [[max(0, value.mean - value.low)], [max(0, value.high - value.mean)]]

    drawn = axes.errorbar(
        x.mean,
        y.mean,
        xerr=arms(x),
        yerr=arms(y),
        elinewidth=1.2,
        capsize=2.5 if fade == 1 else 0,
        markeredgecolor="white",
        zorder=3,
        **style,
    )
    for bar in drawn[2]:
        bar.set_alpha(fade)


def _front(axes, points) -> None:
    line = front(points)
    if len(line) > 1:
        axes.plot(*zip(*line, strict=True), linestyle="--", linewidth=1, color="#adb5bd", zorder=1)


def _decorate(axes, x: str, y: str, *, zoomed: bool) -> None:
    axes.set_xlabel(f"prompt obedience: {TITLES.get(x, METRICS[x])} →", fontsize=11)
    axes.set_ylabel(f"concept fidelity: {TITLES.get(y, METRICS[y])} →", fontsize=11)
    axes.set_title("The recipes, zoomed in" if zoomed else "ToyBench: fidelity against obedience", loc="left", pad=24)
    note = "Bars: 95 % intervals over concepts. Compare within a colour: boards differ."
    if zoomed:
        note = "Dashed: the recipes that no other beats on both axes."
    axes.text(0, 1.02, note, transform=axes.transAxes, fontsize=9, color="#495057")
    axes.grid(color="#e9ecef", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(0.12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _name_beside(axes, recipes: Sequence[Summary], x: str, y: str, colours: Mapping[str, str]) -> None:
    """The names in a column to the right, in the order of the points from top to bottom, each with a hairline."""
    axes.figure.canvas.draw()
    to_axes = axes.transData + axes.transAxes.inverted()
    points = {each.recipe: to_axes.transform((each.means[x].mean, each.means[y].mean)) for each in recipes}
    ordered = sorted(points, key=lambda recipe: tuple(points[recipe][::-1]))
    gap = LINE / (axes.get_position().height * axes.figure.get_figheight())
    heights = spread([points[recipe][1] for recipe in ordered], gap)
    for recipe, height in zip(ordered, heights, strict=True):
        left, colour = 1.06, colours[recipe]
        line = {"color": colour, "linewidth": 0.6, "alpha": 0.6, "zorder": 2, "clip_on": False}
        place = points[recipe]
        axes.plot([place[0], 1.01, left - 0.01], [place[1], height, height], transform=axes.transAxes, **line)
        axes.text(left, height, recipe, transform=axes.transAxes, color=colour, fontsize=9, va="center")


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights in ascending order, moved as little as possible (least squares) so that they are `gap` apart and lie
    within 0 and 1, where they fit.

    Less `gap` for each one below, heights must not fall: isotonic regression by pooling neighbours that do.
    """
    blocks: list[tuple[float, int]] = []
    for position, height in enumerate(heights):
        mean, count = height - position * gap, 1
        while blocks and blocks[-1][0] > mean:
            other, size = blocks.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        blocks.append((mean, count))
    top = max(0.0, 1 - (len(heights) - 1) * gap)
    levels = [min(max(mean, 0.0), top) for mean, count in blocks for _ in range(count)]
    return [level + position * gap for position, level in enumerate(levels)]


def _key(axes, recipes: Sequence[Summary], colours: Mapping[str, str], families: Mapping[str, str]) -> None:
    """Which family has which colour, below the first panel."""
    shown = {families[each.recipe]: colours[each.recipe] for each in recipes if each.recipe in families}
    marks = [axes.plot([], [], "o", color=colour, label=family)[0] for family, colour in sorted(shown.items())]
    axes.legend(handles=marks, loc="upper left", bbox_to_anchor=(0, -0.12), ncols=3, frameon=False, fontsize=9)
