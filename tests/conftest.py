"""One thread a process, no network, and the evidence that tests give for the levels of a recipe.

A test says what it proves with `@pytest.mark.evidence(level="parity", recipe="lora")`; without `recipe` the marker
takes the value of the test's parameter `recipe` or `recipe_id`. `pytest --write-evidence` writes the outcomes of the
run into `diffusers_persona/recipes/evidence.json`.
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


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "evidence(level, recipe=None): the outcome counts as evidence for a level (contract, parity, formats)",
    )
    if config.getoption("--write-evidence") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(EvidenceWriter(config.getoption("--evidence-file")))


def pytest_collection_modifyitems(items):
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        for marker in item.iter_markers("evidence"):
            recipes = marker.kwargs.get("recipe") or parameters.get("recipe") or parameters.get("recipe_id")
            if not recipes:
                raise pytest.UsageError(
                    f"{item.nodeid}: the evidence marker names no recipe and the test has no parameter 'recipe'"
                )
            for recipe in [recipes] if isinstance(recipes, str) else recipes:
                item.user_properties.append(("evidence", [recipe, marker.kwargs["level"]]))


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
