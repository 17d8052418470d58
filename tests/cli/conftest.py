"""A saved tiny base model, a folder of pictures, and the command line as a function."""

import re

import pytest

from diffusers_persona.cli import main


@pytest.fixture
def persona(capsys, tmp_path, monkeypatch):
    """Run `persona WORDS...` in an empty folder: (exit code, stdout, lines of stderr without styles)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        plain = re.sub(r"\x1b\[[0-9;]*m", "", captured.err)
        return code, captured.out, [line for line in plain.splitlines() if line.strip()]

    return run


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A folder with a tiny Stable Diffusion pipeline."""
    from diffusers_persona.testing import tiny_pipeline

    folder = tmp_path_factory.mktemp("base")
    tiny_pipeline("sd").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder with three small pictures."""
    from diffusers_persona.testing import tiny_pictures

    folder = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(tiny_pictures(3)):
        picture.save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def concepts(base, pictures, tmp_path_factory):
    """Two learned concepts: `lora` ("sks dog") and `textual-inversion` ("<dog>")."""
    import diffusers_persona
    from diffusers_persona.cli.hosts import open_base

    folder = tmp_path_factory.mktemp("concepts")
    pipe = open_base(str(base), device="cpu")
    for recipe in ("lora", "textual-inversion"):
        place = folder / recipe
        diffusers_persona.learn(pipe, pictures, recipe, noun="dog", output=place, steps=2, lr=0.1, progress=False)
    return folder
