"""A Hub on loopback, this process pointed at it, and a concept to publish."""

import pytest
from loopback_hub import LoopbackHub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A fresh Hub; `huggingface_hub` in this process speaks to it, logged in as nobody, with an empty cache."""
    from huggingface_hub import constants

    with LoopbackHub() as hub:
        settings = {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_TOKEN_PATH": str(tmp_path / "token"),
        }
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


@pytest.fixture
def environment(hub, tmp_path):
    """Variables that point another process at the Hub."""
    import os

    return {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


@pytest.fixture
def quick(monkeypatch):
    """`huggingface_hub` waits seconds between its tries; here it does not wait."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Saved concepts with a preview: `toy` (a word), `other` (a LoRA)."""
    import diffusers_persona
    from diffusers_persona.testing import tiny_pictures, tiny_pipeline

    place, pipe = tmp_path_factory.mktemp("concepts"), tiny_pipeline("sd")
    for name, recipe in (("toy", "textual-inversion"), ("other", "lora")):
        concept = diffusers_persona.learn(
            pipe, tiny_pictures(2), recipe, noun="toy", steps=2, lr=0.1, progress=False, licence="cc-by-4.0"
        )
        concept.previews = tiny_pictures(2 if name == "toy" else 1)
        concept.save_pretrained(place / name)
    return place


@pytest.fixture
def toy(folders):
    """The concept in `folders / "toy"`, read anew."""
    from diffusers_persona import Concept

    return Concept.from_pretrained(folders / "toy")


@pytest.fixture
def other(folders):
    """Another concept."""
    from diffusers_persona import Concept

    return Concept.from_pretrained(folders / "other")
