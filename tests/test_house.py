"""What a user installs is what the tests ran on."""

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import diffusers_persona

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TESTED_EXTRAS = ("bench", "dev", "ray", "toybox-build")
NEVER = {"torchvision", "torchaudio", "timm"}


def pins(file: str = "constraints.txt") -> dict[str, Version]:
    """The exact versions of a constraints file by canonical name."""
    lines = (line.split("#")[0].strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def requirements(*extras: str) -> list[Requirement]:
    """The package's declared requirements, with those of `extras`, without references to itself."""
    declared = [*PROJECT["dependencies"]]
    for extra in extras:
        declared += PROJECT["optional-dependencies"][extra]
    parsed = [Requirement(text) for text in declared]
    return [requirement for requirement in parsed if canonicalize_name(requirement.name) != PROJECT["name"]]


@pytest.mark.parametrize("requirement", requirements(*TESTED_EXTRAS), ids=str)
def test_the_pinned_version_lies_in_the_declared_range(requirement):
    pinned = pins().get(canonicalize_name(requirement.name))
    assert pinned is not None, f"{requirement.name} is missing in constraints.txt"
    assert requirement.specifier.contains(pinned)


def test_the_lowest_versions_are_the_lower_bounds():
    bounds = {
        canonicalize_name(requirement.name): Version(part.version)
        for requirement in requirements()
        for part in requirement.specifier
        if part.operator == ">="
    }
    assert len(bounds) == len(PROJECT["dependencies"]), "each dependency has one lower bound"
    assert bounds == pins("constraints-lowest.txt")


def test_nothing_installs_an_image_library_of_torch():
    named = {canonicalize_name(r.name) for r in requirements(*PROJECT["optional-dependencies"])}
    assert not named & NEVER
    assert not set(pins()) & NEVER


def test_the_version_is_said_once():
    assert metadata.version(PROJECT["name"]) == PROJECT["version"] == diffusers_persona.__version__
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_command_is_installed():
    (command,) = metadata.entry_points(group="console_scripts", name="persona")
    assert command.value == PROJECT["scripts"]["persona"]


def test_ci_runs_the_tests_and_can_be_executed():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test" in script.read_text(encoding="utf-8")


def test_make_lists_its_targets():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "test-lowest", "soak", "lint", "bench-toybench", "methods", "toybox"):
        assert f"make {target}" in shown


def test_no_file_names_a_place_on_somebodys_machine():
    place = re.compile(r"(?<![\w.~/*-])/(home|root|Users|work|mnt|scratch)/\w")
    text = [".py", ".md", ".toml", ".txt", ".json", ".jsonl", ".yaml", ".mjs", ""]
    folders = ("diffusers_persona", "community_pipelines", "hub_cards", "tests", "docs", "benchmarks", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(ROOT.glob("*"))
    named = [
        str(path.relative_to(ROOT))
        for path in files
        if path.is_file() and path.suffix in text and place.search(path.read_text(encoding="utf-8", errors="ignore"))
    ]
    assert not named
