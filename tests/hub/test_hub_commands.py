"""`persona push` and `persona pull`, in processes of their own, and where the token does not turn up."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from loopback_hub import ANNA

from diffusers_persona.cli import main

SECRET = re.compile(rb"hf_\w+_token|annas_secret")


@pytest.fixture
def persona(capsys, monkeypatch, tmp_path):
    """Run `persona WORDS...` here: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def traces(*folders):
    """Files under `folders` that hold a token."""
    files = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
    return [path for path in files if SECRET.search(path.read_bytes())]


def test_push_and_pull_in_processes_of_their_own_and_the_token_is_nowhere(hub, environment, folders, tmp_path):
    def run(*words):
        command = [sys.executable, "-c", "from diffusers_persona.cli import main; exit(main())", *map(str, words)]
        return subprocess.run(
            command, env={**environment, "HF_TOKEN": ANNA, "HF_DEBUG": "1"}, cwd=tmp_path, capture_output=True
        )

    pushed = run("push", folders / "toy", "anna/toy", "--private", "--message", "first")
    pulled = run("pull", "anna/toy", "copy")
    assert (pushed.returncode, pulled.returncode) == (0, 0), (pushed.stderr, pulled.stderr)
    assert pushed.stdout.decode().strip().startswith(f"{hub.url}/anna/toy/commit/")
    assert pulled.stdout.decode().strip() == "copy"
    repo = hub.repos["anna/toy"]
    assert repo.private and repo.messages[-1] == "first"
    assert (tmp_path / "copy" / "concept.safetensors").read_bytes() == repo.files()["concept.safetensors"]
    assert any(ANNA in (token or "") for *_, token in hub.requests)
    said = (pushed.stdout, pushed.stderr, pulled.stdout, pulled.stderr)
    assert not [text for text in said if SECRET.search(text)]
    assert not traces(tmp_path, folders)
    assert not any(SECRET.search(content) for content in repo.files().values())


def test_errors_and_their_tracebacks_show_no_token(hub, toy, quick):
    import traceback

    from diffusers_persona import PersonaError

    for token, route in ((ANNA, "commit"), (ANNA, "create"), ("hf_annas_secret\n_token", None)):
        hub.failures.clear()
        if route:
            hub.fail(route)
        with pytest.raises(PersonaError) as caught:
            toy.push_to_hub("anna/toy", token=token)
        shown = "".join(traceback.format_exception(caught.value))
        assert not SECRET.search(shown.encode()) and "annas" not in shown


def test_push_is_refused_in_one_line(hub, persona, folders, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_nobodys_token")
    code, out, err = persona("push", folders / "toy", "anna/toy")
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert "does not know this token" in err and "nobodys" not in err
    code, _, err = persona("push", "nowhere", "anna/toy")
    assert code == 2 and "nowhere: no such folder" in err


def test_a_person_needs_the_flag(hub, persona, toy, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", ANNA)
    toy.header["kind"] = "person"
    toy.save_pretrained(tmp_path / "friend")
    code, _, err = persona("push", "friend", "anna/friend")
    assert code == 2 and "--i-have-consent" in err and not hub.repos
    assert persona("push", "friend", "anna/friend", "--i-have-consent")[0] == 0


def test_a_branch_is_pushed_and_pulled(hub, persona, folders, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", ANNA)
    assert persona("push", folders / "toy", "anna/toy")[0] == 0
    assert persona("push", folders / "other", "anna/toy", "--revision", "v2")[0] == 0
    assert persona("pull", "anna/toy", "second", "--revision", "v2")[0] == 0
    assert (Path("second") / "pytorch_lora_weights.safetensors").is_file()
