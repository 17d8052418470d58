"""The command line never shows a stack trace for what a user typed."""

import json
import re

import pytest
from typer.main import get_command

from diffusers_persona.cli import main
from diffusers_persona.cli.app import app

MISSING = "no/such/place"


def leaves(command=None, words=()):
    """(words, command) of every command that does something."""
    command = command or get_command(app)
    if hasattr(command, "commands"):
        return [leaf for name, inner in command.commands.items() for leaf in leaves(inner, (*words, name))]
    return [(words, command)]


def bad_lines():
    """Every numeric option of every command with a word and with NaN, every required argument with a missing place."""
    lines = []
    for words, command in leaves():
        required = [MISSING for p in command.params if p.required and p.param_type_name == "argument"]
        needed = [
            w for p in command.params if p.required and p.param_type_name == "option" for w in (p.opts[0], MISSING)
        ]
        lines.append([*words, "--no-such-option"])
        lines.append([*words, *required, *needed, "one", "too", "many", "words", "--", "-x"])
        lines += [[*words, *required, *needed, p.opts[0], "x1"] for p in command.params if _is_number(p)]
        if required:
            lines.append([*words, *required, *needed])
    return lines


def _is_number(parameter):
    return parameter.param_type_name == "option" and parameter.type_descriptor.annotation in (int, float)


DAMAGED = {
    "empty": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "deep": b"[" * 50_000,
    "wrong spaces": json.dumps(
        {"schema_version": 1, "recipe": "lora", "token": "a", "noun": "b", "spaces": [{"kind": []}]}
    ).encode(),
    "wrong numbers": json.dumps(
        {"schema_version": 1, "recipe": "x", "token": "a", "noun": "b", "spaces": [], "numbers": 3, "training": []}
    ).encode(),
}


def run(capfd, words):
    """Exit code and the plain lines of stderr."""
    code = main([str(word) for word in words])
    return code, re.sub(r"\x1b\[[0-9;]*m", "", capfd.readouterr().err)


@pytest.mark.promise
def test_a_wrong_command_line_is_answered_in_one_line(capfd, tmp_path, monkeypatch, soak):
    """A wrong option, a missing file or too many words end any command with exit code 2 and one line that says what is
    wrong, never with a stack trace."""
    monkeypatch.chdir(tmp_path)
    lines, faults = bad_lines(), []
    step = 1 if soak(len(lines) // 4, len(lines), of="wrong command lines") == len(lines) else 4
    for words in lines[::step]:
        code, shown = run(capfd, words)
        if code != 2 or "Traceback" in shown or not shown.strip().splitlines()[-1].startswith("persona:"):
            faults.append((code, " ".join(words), shown[-300:]))
    assert not faults, "\n".join(map(str, faults[:20]))


@pytest.mark.promise
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_concept_is_answered_in_one_line(name, capfd, tmp_path, monkeypatch):
    """A damaged concept is refused by the command that needs it, with exit code 2 and one line that names the file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "concept.json").write_bytes(DAMAGED[name])
    (tmp_path / "bad" / "concept.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    code, shown = run(capfd, ["inspect", "bad"])
    assert code in (0, 2) and "Traceback" not in shown, shown[-500:]
    code, shown = run(capfd, ["generate", "bad", "--prompt", "a {}", "--count", "1", "--steps", "1"])
    assert code == 2 and "Traceback" not in shown and shown.count("persona:") == 1, shown[-500:]
