"""Plots of results: fidelity against obedience with intervals. Needs matplotlib (extra `bench`)."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

from diffusers_persona.errors import PersonaError
from diffusers_persona.files import write_whole

from .summary import FIDELITY, METRICS, OBEDIENCE, Summary

COLOURS = ("#2563eb", "#d9480f", "#2b8a3e", "#9c36b5", "#0b7285", "#c2255c", "#5f3dc4", "#8d6e00")
TITLES = {OBEDIENCE: "share of what the prompt asks", FIDELITY: "DINO-I of the foreground"}
REFERENCE_STYLE = {
    "base": ("s", "base (class noun)"),
    "copy-paste": ("D", "copy-paste"),
    "oracle": ("*", "oracle (real)"),
}


def pareto(summaries: Sequence[Summary], path: str | Path, *, x: str = OBEDIENCE, y: str = FIDELITY) -> Path:
    """Draws every summary that has both metrics as a labelled point with its 95 % intervals; returns the PNG's path.

    The dashed line is the front of the recipes: none of the others is better on both axes.

    Raises:
        PersonaError: matplotlib is missing, or no summary has both metrics.
    """
    pyplot = _pyplot()
    shown = [summary for summary in summaries if x in summary.means and y in summary.means]
    if not shown:
        raise PersonaError(f"no result has both {x!r} and {y!r}: nothing to plot.")
    recipes = [summary for summary in shown if not summary.is_reference]
    figure, panels = pyplot.subplots(
        1, 2 if recipes else 1, figsize=(13 if recipes else 7, 5.6), dpi=150, squeeze=False
    )
    for axes, zoomed in zip(panels[0], (False, True), strict=False):
        _panel(axes, recipes, shown, x, y, zoomed=zoomed)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", facecolor="white", metadata={"Software": None})
    pyplot.close(figure)
    write_whole(Path(path), buffer.getvalue())
    return Path(path)


def _panel(axes, recipes: Sequence[Summary], shown: Sequence[Summary], x: str, y: str, *, zoomed: bool) -> None:
    """All summaries with the reference rows labelled, or, zoomed, the recipes alone with theirs."""
    labels = []
    for summary in recipes if zoomed else shown:
        if summary.is_reference:
            marker, title = REFERENCE_STYLE[summary.recipe]
            colour, markersize = "#868e96", 13 if marker == "*" else 8
        else:
            marker, title = "o", summary.recipe
            colour, markersize = COLOURS[recipes.index(summary) % len(COLOURS)], 9
        _point(axes, summary.means[x], summary.means[y], marker=marker, markersize=markersize, color=colour)
        if zoomed or summary.is_reference:
            labels.append((title, summary.means[x].mean, summary.means[y].mean, colour))
    _front(axes, [(summary.means[x].mean, summary.means[y].mean) for summary in recipes])
    _decorate(axes, x, y, zoomed=zoomed)
    _place_labels(axes, labels)


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


def _point(axes, x, y, **style) -> None:
    def arms(value):
        return None if value.low is None else [[max(0, value.mean - value.low)], [max(0, value.high - value.mean)]]

    axes.errorbar(
        x.mean,
        y.mean,
        xerr=arms(x),
        yerr=arms(y),
        elinewidth=1.2,
        capsize=2.5,
        markeredgecolor="white",
        zorder=3,
        **style,
    )


def _front(axes, points) -> None:
    line = front(points)
    if len(line) > 1:
        axes.plot(*zip(*line, strict=True), linestyle="--", linewidth=1, color="#adb5bd", zorder=1)


def _decorate(axes, x: str, y: str, *, zoomed: bool) -> None:
    axes.set_xlabel(f"prompt obedience: {TITLES.get(x, METRICS[x])} →", fontsize=11)
    axes.set_ylabel(f"concept fidelity: {TITLES.get(y, METRICS[y])} →", fontsize=11)
    axes.set_title("The recipes, zoomed in" if zoomed else "ToyBench: fidelity against obedience", loc="left", pad=24)
    note = "Dashed: the recipes that no other beats on both axes." if zoomed else "Bars: 95 % intervals over concepts."
    axes.text(0, 1.02, note, transform=axes.transAxes, fontsize=9, color="#495057")
    axes.grid(color="#e9ecef", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(0.12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _place_labels(axes, labels) -> None:
    """Puts each label at the nearest place that hides the fewest labels, points and bars; a hairline if it is far."""
    from matplotlib import patheffects

    axes.figure.canvas.draw()
    renderer = axes.figure.canvas.get_renderer()
    hidden = [line for container in axes.containers for line in _pixels(container)]
    taken = []
    for title, x, y, colour in labels:
        text = axes.annotate(title, (x, y), (0, 0), textcoords="offset points", color=colour, fontsize=10, zorder=5)
        text.set(fontweight="bold", path_effects=[patheffects.withStroke(linewidth=3, foreground="white")])
        best = None
        for offset in _PLACES:
            _move(text, offset)
            box = text.get_window_extent(renderer).padded(2)
            cost = 4 * sum(box.overlaps(other) for other in taken) + sum(box.contains(*pixel) for pixel in hidden)
            cost += 100 * (box.x0 < axes.bbox.x0 or box.x1 > axes.bbox.x1 + 20 or box.y0 < axes.bbox.y0)
            cost += 0.02 * math.hypot(*offset)
            if best is None or cost < best[0]:
                best = cost, offset, box
        _move(text, best[1])
        taken.append(best[2])
        if math.hypot(*best[1]) > 25:
            arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkB": 5}
            axes.annotate("", (x, y), best[1], textcoords="offset points", arrowprops=arrow, zorder=2)


_PLACES = [
    (radius * math.cos(math.radians(angle)), radius * math.sin(math.radians(angle)))
    for radius in (14, 24, 38, 55, 75)
    for angle in (35, 145, 325, 215, 75, 105, 285, 255, 10, 170, 350, 190)
]
"""Offsets of a label from its point, in points of 1/72 inch, the nearest first."""


def _move(text, offset) -> None:
    text.set_position(offset)
    text.set(ha="left" if offset[0] > 0 else "right", va="center")


def _pixels(container) -> list[tuple[float, float]]:
    """Places in pixels along a point's marker and bars, close enough that a label over one of them covers one."""
    marker, _, bars = container.lines
    transform = marker.axes.transData
    places = [transform.transform(point) for point in marker.get_xydata()]
    for bar in bars:
        for start, end in bar.get_segments():
            start, end = transform.transform(start), transform.transform(end)
            steps = max(2, int(math.dist(start, end) / 6))
            places += [start + (end - start) * step / (steps - 1) for step in range(steps)]
    return [tuple(place) for place in places]
