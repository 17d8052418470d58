"""One thread a process, no network, and the evidence that tests give for the levels of a recipe.

A test says what it proves with `@pytest.mark.evidence(level="parity", recipe="lora")`; without `recipe` the marker
takes the value of the test's parameter `recipe` or `recipe_id`. `pytest --write-evidence` writes the outcomes of the
run into `diffusers_persona/recipes/evidence.json`.

A test that covers a big number takes the fixture `soak`: `soak(small, full, of="kills")` gives `small` in an ordinary
run and `full` with `pytest --soak`, and the count is printed at the end of the run. `--soak` runs those tests and the
ones marked `promise` alone; `--soak-file` writes what the run found, for `docs/promises.md`.
"""

import os
import sys
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

os.environ.setdefault("PERSONA_CACHE", str(Path(__file__).parents[1] / ".pytest_cache" / "persona"))

import pytest  # noqa: E402  (the variables above count only when they are set before torch is loaded)

if "torch" in sys.modules:
    sys.modules["torch"].set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--write-evidence", action="store_true", help="write what this run proves about the recipes")
    parser.addoption("--evidence-file", type=Path, help="the file to write, in place of the package's")
    parser.addoption("--soak", action="store_true", help="run the tests that count, with their whole counts, alone")
    parser.addoption("--soak-file", type=Path, help="the JSON file in which the rows of this run are renewed")


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "evidence(level, recipe=None): the outcome counts as evidence for a level (contract, parity, formats)",
    )
    config.addinivalue_line(
        "markers", "promise: the test's docstring is a promise of SECURITY.md and docs/promises.md"
    )
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SoakReporter(config.getoption("--soak"), config.getoption("--soak-file")))
    if config.getoption("--write-evidence") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(EvidenceWriter(config.getoption("--evidence-file")))


def pytest_collection_modifyitems(config, items):
    if config.getoption("--soak"):
        counts = [item for item in items if "soak" in item.fixturenames or item.get_closest_marker("promise")]
        config.hook.pytest_deselected(items=[item for item in items if item not in counts])
        items[:] = counts
    for item in items:
        if item.get_closest_marker("promise"):
            item.user_properties.append(("promise", True))
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        for marker in item.iter_markers("evidence"):
            recipes = marker.kwargs.get("recipe") or parameters.get("recipe") or parameters.get("recipe_id")
            if not recipes:
                raise pytest.UsageError(
                    f"{item.nodeid}: the evidence marker names no recipe and the test has no parameter 'recipe'"
                )
            for recipe in [recipes] if isinstance(recipes, str) else recipes:
                item.user_properties.append(("evidence", [recipe, marker.kwargs["level"]]))


@pytest.fixture
def soak(request):
    """`soak(small, full, of="cases") -> int`: how many cases this run covers; printed at the end of the run."""

    def choose(small: int, full: int, of: str = "cases") -> int:
        count = full if request.config.getoption("--soak") else small
        request.node.user_properties.append(("soak", [count, of]))
        return count

    return choose


class SoakReporter:
    """Prints the counts that tests took from `soak` and keeps the rows of a soak run in a JSON file."""

    def __init__(self, whole, path):
        self.whole, self.path, self.rows = whole, path, {}

    def pytest_runtest_logreport(self, report):
        counts = [value for name, value in report.user_properties if name == "soak"]
        if report.when != "call" or not (counts or ("promise", True) in report.user_properties):
            return
        self.rows[report.nodeid] = {
            "counts": [{"count": count, "of": of} for count, of in counts],
            "outcome": report.outcome,
            "seconds": round(report.duration, 1),
        }

    def pytest_terminal_summary(self, terminalreporter):
        counted = {test: row for test, row in self.rows.items() if row["counts"]}
        if counted:
            terminalreporter.section("counts" if self.whole else "counts (the whole ones: make soak)")
        for test, row in sorted(counted.items()):
            counts = ", ".join(f"{entry['count']:,} {entry['of']}" for entry in row["counts"])
            terminalreporter.write_line(f"{counts:>40}  {test}  {row['outcome']}")

    def pytest_sessionfinish(self):
        if self.whole and self.path and self.rows:
            import soak_rows

            soak_rows.renew(self.path, self.rows)


class EvidenceWriter:
    """Lives in the main process; what worker processes find reaches it through the reports' user properties."""

    def __init__(self, path):
        self.path, self.outcomes = path, []

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.outcomes += [(*value, report.outcome) for name, value in report.user_properties if name == "evidence"]

    def pytest_sessionfinish(self):
        from diffusers_persona.evaluation import levels

        levels.record_tests(self.outcomes, self.path or levels.EVIDENCE)
