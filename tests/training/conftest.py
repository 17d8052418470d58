import pytest

from diffusers_persona.testing import tiny_pictures, tiny_pipeline


@pytest.fixture
def pipe():
    return tiny_pipeline("sd")


@pytest.fixture
def pictures():
    return tiny_pictures(4)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A folder of class pictures for this test alone."""
    monkeypatch.setenv("PERSONA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
