"""The levels of a recipe come from evidence, and evidence from tests and benchmarks alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation.levels import (
    LEVELS,
    checkout_evidence,
    levels,
    read_evidence,
    record_efficacy,
    record_tests,
)
from diffusers_persona.evaluation.summary import summarise


@pytest.fixture
def path(tmp_path):
    return tmp_path / "evidence.json"


def test_without_evidence_everything_is_unknown(path):
    assert levels("lora", evidence=read_evidence(path)) == dict.fromkeys(LEVELS, "unknown")


def test_a_level_passes_when_tests_passed_and_none_failed(path):
    record_tests(
        [
            ("lora", "contract", "passed"),
            ("lora", "parity", "passed"),
            ("lora", "parity", "failed"),
            ("lora", "formats", "skipped"),
        ],
        path,
    )
    assert levels("lora", evidence=read_evidence(path)) == {
        "contract": "pass",
        "parity": "fail",
        "efficacy": "unknown",
        "formats": "unknown",
    }


def test_a_new_test_run_replaces_the_last_one_whole(path):
    record_tests([("lora", "contract", "passed"), ("dreambooth", "contract", "passed")], path)
    record_tests([("lora", "parity", "passed")], path)
    assert read_evidence(path) == {"lora": {"parity": {"passed": 1, "failed": 0, "skipped": 0}}}


def test_efficacy_comes_from_the_benchmark_and_survives_the_tests(path, rows):
    record_efficacy(summarise(rows), path)
    record_tests([("lora", "contract", "passed")], path)
    evidence = read_evidence(path)
    assert levels("lora", evidence=evidence)["efficacy"] == "pass"
    assert levels("useless", evidence=evidence)["efficacy"] == "fail"
    assert levels("lora", evidence=evidence)["contract"] == "pass"
    assert evidence["lora"]["efficacy"]["fidelity_over_base"]["low"] > 0.3
    assert "base" not in evidence


def test_a_recipe_that_left_the_benchmark_loses_its_efficacy(path, rows):
    record_efficacy(summarise(rows), path)
    record_efficacy(summarise([row for row in rows if row["recipe"] != "lora"]), path)
    assert levels("lora", evidence=read_evidence(path))["efficacy"] == "unknown"


def test_tests_cannot_claim_efficacy(path):
    with pytest.raises(PersonaError, match="not 'efficacy'"):
        record_tests([("lora", "efficacy", "passed")], path)


def test_a_damaged_file_is_named(path):
    path.write_text("{")
    with pytest.raises(PersonaError, match="evidence.json is not JSON"):
        read_evidence(path)


def test_levels_load_no_torch():
    code = (
        "from diffusers_persona.evaluation import levels; levels.levels('lora')\n"
        "import sys; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_only_a_source_checkout_is_written_to():
    assert checkout_evidence() is None or (checkout_evidence().parents[2] / "pyproject.toml").exists()


SUITE = """
import pytest

@pytest.mark.evidence(level="contract")
@pytest.mark.parametrize("recipe", ["lora", "dreambooth"])
def test_contract(recipe):
    assert recipe == "lora"

@pytest.mark.evidence(level="parity", recipe=["lora", "dreambooth"])
def test_parity():
    pass

@pytest.mark.evidence(level="formats", recipe="lora")
def test_formats():
    pytest.skip("no file at hand")

def test_nothing_about_recipes():
    pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_suite_writes_what_its_tests_proved(tmp_path, workers):
    """The real plugin, in a suite of its own, in one process and spread over workers."""
    target = tmp_path / "evidence.json"
    (tmp_path / "conftest.py").write_text((Path(__file__).parents[1] / "conftest.py").read_text())
    (tmp_path / "test_suite.py").write_text(SUITE)
    options = ["-q", "-p", "no:cacheprovider", "-n", workers, "--write-evidence", "--evidence-file", str(target)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "1 failed, 3 passed, 1 skipped" in result.stdout, result.stdout + result.stderr
    assert json.loads(target.read_text()) == {
        "dreambooth": {
            "contract": {"passed": 0, "failed": 1, "skipped": 0},
            "parity": {"passed": 1, "failed": 0, "skipped": 0},
        },
        "lora": {
            "contract": {"passed": 1, "failed": 0, "skipped": 0},
            "parity": {"passed": 1, "failed": 0, "skipped": 0},
            "formats": {"passed": 0, "failed": 0, "skipped": 1},
        },
    }
