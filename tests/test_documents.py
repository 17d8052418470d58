"""The code in README and CONTRIBUTING runs as printed; only numbers of steps are cut to keep the suite quick."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from diffusers_persona.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python test\n(.*?)^```$", re.DOTALL | re.MULTILINE)
QUICK = ((r"\bsteps=\d+", "steps=2"), (r"\bnum_inference_steps=\d+", "num_inference_steps=2"))


def read(document: str) -> str:
    """The text of a document at the top of the repository."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> str:
    """The document's blocks that are marked ``python test``, in order, as one quick programme."""
    code = "\n".join(BLOCK.findall(read(document)))
    for pattern, replacement in QUICK:
        code = re.sub(pattern, replacement, code)
    return code


@pytest.mark.parametrize(
    "document, results", [("README.md", ["*.png", "my-toy/concept.json"]), ("CONTRIBUTING.md", [])]
)
def test_the_code_of_a_document_runs(document, results, tmp_path):
    """In an interpreter of its own: CONTRIBUTING's example registers a recipe."""
    run = subprocess.run([sys.executable, "-c", blocks(document)], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    for result in results:
        assert list(tmp_path.glob(result)), f"{document} promises {result}"


def test_readme_starts_with_the_two_commands():
    text = read("README.md")
    assert text.index("make demo") < text.index("make test") < text.index("```python")


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_a_document_links_only_to_files_that_exist(document):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", read(document))
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def commands(document: str) -> list[str]:
    """The document's indented lines that call the command line."""
    return re.findall(r"^    (persona .*)$", read(document), re.MULTILINE)


@pytest.mark.parametrize("line", commands("README.md"))
def test_a_command_line_of_readme_is_understood(line):
    command, words = get_command(app), shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("persona", words)
