"""`--help` teaches: every command says what it is for and shows examples that can be typed."""

import re
import shlex

import pytest

COMMANDS = (
    "learn",
    "generate",
    "merge",
    "compare",
    "demo",
    "push",
    "pull",
    "convert",
    "recipes",
    "inspect",
    "doctor",
    "bench toybench",
)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_without_words_it_lists_every_command(persona):
    _, out, _ = persona("--help")
    for command in COMMANDS:
        assert f" {command.split()[0]} " in plain(out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_two_examples_or_more_whose_options_exist(persona, command):
    code, out, _ = persona(*command.split(), "--help")
    assert code == 0
    description, _, options = plain(out).partition("─ Options")
    examples = [line.strip() for line in description.splitlines() if line.strip().startswith(f"persona {command}")]
    assert len(examples) >= 2
    for example in examples:
        for word in shlex.split(example):
            assert not word.startswith("--") or f"{word} " in options
