"""The scoreboard, the plot and the table of methods."""

import itertools

import pytest
from PIL import Image

import diffusers_persona as dp
from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation import methods, plots, tables
from diffusers_persona.evaluation.statistics import Interval
from diffusers_persona.evaluation.summary import summarise


def scoreboard(rows, **options):
    return tables.scoreboard(rows, summarise(rows), **options)


def test_the_scoreboard_says_who_beats_the_base_and_who_does_not(rows):
    page = scoreboard(rows)
    assert "**1 of 2** recipes beat the base on fidelity and copy-paste on obedience" in page
    assert "outside the 95 % interval: `lora`." in page
    assert "**Does not beat the base** on fidelity: `useless`." in page


def test_one_concept_gives_no_verdict(rows):
    page = scoreboard([row for row in rows if row["concept"] == "c0"])
    assert "one concept gives no interval" in page and "**0 of 0**" not in page


def test_the_scoreboard_names_what_its_figures_hang_on(rows):
    page = scoreboard(rows)
    for fact in (
        "base0",
        "instruments0",
        "2 seeds",
        "25 steps",
        "person: c6, c7",
        "a processor",
        "95 %",
        "RGB (128, 128, 128)",
    ):
        assert fact in page


def test_the_scoreboard_has_a_line_for_each_row_in_every_table(rows):
    page = scoreboard(rows)
    assert all(page.count(f"| *{name}* |") == 3 for name in ("base", "oracle", "copy-paste"))
    (line,) = (line for line in page.splitlines() if line.startswith("|  | `lora` | yes"))
    assert "| yes | 0.8" in line and "| +0.4" in line and "1.5 kB" in line and "8 x 2" in line


def test_every_table_is_well_formed(rows):
    lines = scoreboard(rows).splitlines()
    widths = [line.count("|") for line in lines if line.startswith("|")]
    for above, below in zip(lines, lines[1:], strict=False):
        if above.startswith("|") and below.startswith("|"):
            assert above.count("|") == below.count("|")
    assert widths


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (Interval(mean=0.5, low=None, high=None, clusters=1, count=2), "0.500"),
        (Interval(mean=0.5, low=0.25, high=0.75, clusters=2, count=2), "0.500 [0.250, 0.750]"),
    ],
)
def test_an_interval_is_printed_as_far_as_it_exists(value, text):
    assert tables.interval(value) == text


@pytest.mark.parametrize(("count", "text"), [(0, "-"), (999, "999 B"), (1500, "1.5 kB"), (14_560_000, "14.6 MB")])
def test_sizes_are_for_people(count, text):
    assert tables.size(count) == text


def test_a_pipe_in_a_cell_does_not_break_the_table():
    assert tables.markdown_table(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"


def test_the_plot_is_a_picture(rows, tmp_path):
    path = plots.pareto(summarise(rows), tmp_path / "images" / "pareto.png")
    with Image.open(path) as image:
        assert image.width > 800 and len(image.convert("RGB").getcolors(1 << 20)) > 20


def test_the_plot_refuses_to_be_empty(tmp_path):
    with pytest.raises(PersonaError, match="nothing to plot"):
        plots.pareto([], tmp_path / "pareto.png")


def test_the_front_holds_what_no_other_beats_on_both_axes():
    assert plots.front([(0.1, 0.9), (0.5, 0.5), (0.4, 0.4), (0.9, 0.1)]) == [(0.1, 0.9), (0.5, 0.5), (0.9, 0.1)]


def test_the_table_of_methods_lists_every_registered_recipe_and_what_is_proven():
    passed = {"passed": 3, "failed": 0, "skipped": 0}
    failed = {"passed": 3, "failed": 1, "skipped": 0}
    entries = dp.recipes.list()
    page = methods.methods_page(entries, {"lora": {"contract": passed, "formats": failed}})
    for entry in entries:
        assert f"## {entry.id}\n" in page and entry.paper in page and entry.departures in page
    (line,) = (line for line in page.splitlines() if "| [`lora`](#lora) |" in line)
    assert line.endswith("| yes | ? | ? | **no** |  |")
    assert "- formats: 3 tests passed, 1 tests failed" in page


def test_the_table_of_methods_is_written_where_asked(tmp_path, capsys):
    methods.main([str(tmp_path / "methods.md")])
    assert "# Methods" in (tmp_path / "methods.md").read_text()
    assert "methods.md" in capsys.readouterr().out


def test_the_table_goes_by_board_then_by_fidelity_and_marks_rows_that_are_there_to_compare(rows):
    names = {"c0": "hedgehog", "c1": "ufo", "c6": "diana-evans", "c7": "peter-bailey"}
    placed = [row | {"concept": names[row["concept"]]} for row in rows if row["concept"] in names]
    page = scoreboard(placed, boards={"lora": "object", "useless": "person"})
    table = page[page.index("| learns from |") : page.index("## Fidelity")]
    lines = [line.split(" | ")[:2] for line in table.splitlines()[2:] if line]
    assert [board.strip("| ") for board, _ in lines] == ["object"] * 6 + ["person"] * 6
    assert [name for _, name in lines[4:6]] == ["`lora`", "`useless` (to compare)"]
    assert [name for _, name in lines[10:]] == ["`lora` (to compare)", "`useless`"]


def test_names_beside_the_plot_are_apart_and_near_their_points():
    assert plots.spread([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
    assert plots.spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    crowded = plots.spread([0.9] * 10, 0.05)
    assert max(crowded) == pytest.approx(1.0) and min(b - a for a, b in itertools.pairwise(crowded)) > 0.0499


def test_fifty_recipes_fit_into_the_plot(rows, tmp_path):
    lora = [row for row in rows if row["recipe"] == "lora"]
    many = [row | {"recipe": f"recipe-{i}"} for i in range(50) for row in lora[:1]]
    families = {f"recipe-{i}": f"family {i % 5}" for i in range(50)}
    path = plots.pareto(summarise(many), tmp_path / "pareto.png", families=families)
    with Image.open(path) as image:
        assert image.height > 50 * 20
