"""`Concept.from_file` reads other people's repositories: one file of them, or the weights at their top."""

import pytest
import torch
from safetensors.torch import save

from diffusers_persona import Concept, PersonaError

WORD = save({"<toy>": torch.ones(2, 32)})


def fetched(hub):
    return {path.split("/resolve/")[1].split("/", 1)[1] for route, path, _ in hub.requests if route == "file"}


def test_a_repository_of_one_embedding_is_that_embedding_and_stays_readable_offline(hub, monkeypatch):
    hub.add("anna/word", {"learned_embeds.safetensors": WORD, "README.md": b"x", "unet/big.safetensors": b"x"})
    assert Concept.from_file("anna/word").token == "<toy>"
    assert fetched(hub) == {"learned_embeds.safetensors"}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert Concept.from_file("anna/word").token == "<toy>"


def test_one_file_of_a_repository_can_be_named(hub):
    hub.add("anna/words", {"a/first.safetensors": WORD, "b.safetensors": WORD})
    concept = Concept.from_file("anna/words/a/first.safetensors", token="<first>")
    assert (concept.token, fetched(hub)) == ("<first>", {"a/first.safetensors"})


def test_a_concept_of_ours_is_read_as_one(hub, toy):
    hub.add("anna/toy", toy.contents(repo="anna/toy"))
    assert Concept.from_file("anna/toy").header == toy.header


def test_a_whole_pipeline_is_refused_before_its_weights_are_fetched(hub):
    hub.add("anna/base", {"model_index.json": b"{}", "v1-5.safetensors": WORD})
    with pytest.raises(PersonaError, match="anna/base is a whole pipeline"):
        Concept.from_file("anna/base")
    assert not fetched(hub)


@pytest.mark.parametrize("name", ["anna/nothing", "anna/private", "../etc/passwd", "anna/word/../../x"])
def test_what_cannot_be_read_is_one_line(hub, name):
    hub.add("anna/private", {"learned_embeds.safetensors": WORD}, private=True)
    with pytest.raises(PersonaError) as caught:
        Concept.from_file(name)
    assert name in str(caught.value) and "\n" not in str(caught.value)
