"""What the releases of methods that learn several words leave on disk."""

import numpy as np
import pytest
import torch
from factors import draw, pipe_of

from diffusers_persona import Concept, PersonaError, learn
from diffusers_persona.testing import short_lesson, tiny_pictures

OPTIONS = dict(noun="cat and dog", steps=2, batch_size=2, progress=False)


def same_picture(concept, other, pipe):
    pictures = []
    for each in (concept, other):
        with each.attach(pipe):
            pictures.append(draw(pipe, "a photo of <cat> and <dog>"))
    return np.abs(pictures[0] - pictures[1]).max() < 1e-4


@pytest.mark.evidence(level="formats", recipe="mcpl")
def test_mcpl_keeps_all_words_in_one_file(tmp_path):
    """``embeddings_gs-<n>.pt``: string_to_token, string_to_param with a key for each pseudo word."""
    words = {"*": torch.randn(1, 32), "@": torch.randn(1, 32)}
    content = {
        "string_to_token": {word: torch.tensor(n) for n, word in enumerate(words, 265)},
        "string_to_param": torch.nn.ParameterDict({word: torch.nn.Parameter(v) for word, v in words.items()}),
    }
    torch.save(content, tmp_path / "embeddings_gs-6099.pt")
    concept = Concept.from_file(tmp_path / "embeddings_gs-6099.pt", token=["<cat>", "<dog>"])
    assert [space.token for space in concept.spaces] == ["<cat>", "<dog>"] and not concept.report.unused
    for i, value in enumerate(words.values()):
        assert torch.equal(concept.tensors_of(i)["text_encoder.embedding"], value)
    pipe = pipe_of("sd")
    learned = learn(pipe, tiny_pictures(1), "mcpl", **OPTIONS)
    learned.export("original", tmp_path / "own")
    assert same_picture(learned, Concept.from_file(tmp_path / "own", token=["<cat>", "<dog>"]), pipe)


@pytest.mark.evidence(level="formats", recipe="disendiff")
def test_disendiff_leaves_a_delta_of_custom_diffusion(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONA_CACHE", str(tmp_path / "cache"))
    pipe = pipe_of("sd")
    concept = learn(pipe, tiny_pictures(1), "disendiff", prior_count=2, lr=1e-2, **OPTIONS)
    concept.export("ldm", tmp_path / "delta", pipe=pipe)
    loaded = Concept.from_file(tmp_path / "delta", token=["<cat>", "<dog>"], base=pipe)
    assert not loaded.report.unused and same_picture(concept, loaded, pipe)


@pytest.mark.evidence(level="formats", recipe="compositional-inversion")
def test_compositional_inversion_leaves_a_word_of_several_vectors(tmp_path):
    """``learned_embeds.bin`` of diffusers' multi-vector script: one tensor [n, d] under the word."""
    pipe = pipe_of("sd")
    numbers = dict(noun="dog", token="<dog>", steps=2, batch_size=1, vectors=3, progress=False)
    concept = learn(pipe, tiny_pictures(1), "compositional-inversion", **numbers)
    torch.save({"<dog>": concept.tensors_of(0)["text_encoder.embedding"]}, tmp_path / "learned_embeds.bin")
    loaded = Concept.from_file(tmp_path / "learned_embeds.bin")
    assert loaded.token == "<dog>" and loaded.spaces[0].vectors == 3
    pictures = []
    for each in (concept, loaded):
        with each.attach(pipe):
            pictures.append(draw(pipe, "a photo of <dog>"))
    assert np.array_equal(*pictures)


@pytest.mark.evidence(level="formats", recipe="break-a-scene")
def test_break_a_scene_leaves_a_whole_pipeline_with_its_words(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONA_CACHE", str(tmp_path / "cache"))
    pipe = pipe_of("sd")
    concept = learn(pipe, **short_lesson("break-a-scene", pictures=tiny_pictures(1)))
    concept.export("pipeline", tmp_path / "scene", pipe=pipe)
    loaded = Concept.from_file(tmp_path / "scene", base=pipe)
    assert [space.token for space in loaded.spaces if space.kind == "word"] == ["<cat>", "<dog>"]
    assert same_picture(concept, loaded, pipe)


def test_words_of_a_pipeline_may_have_several_vectors_and_other_names(tmp_path):
    pipe = pipe_of("sd")
    numbers = dict(noun="dog", token="<dog>", steps=1, batch_size=1, vectors=3, progress=False)
    concept = learn(pipe, tiny_pictures(1), "compositional-inversion", **numbers)
    concept.export("pipeline", tmp_path, pipe=pipe)
    loaded = Concept.from_file(tmp_path, base=pipe, token="<pet>")
    assert [(space.token, space.vectors) for space in loaded.spaces] == [("<pet>", 3)]
    own, theirs = (each.tensors_of(0)["text_encoder.embedding"] for each in (concept, loaded))
    assert torch.allclose(own, theirs)
    with pytest.raises(PersonaError, match="brings 1 word"):
        Concept.from_file(tmp_path, base=pipe, token=["<a>", "<b>"])
    for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json"):
        (tmp_path / "tokenizer" / name).unlink(missing_ok=True)
    with pytest.raises(PersonaError, match="has no name in tokenizer"):
        Concept.from_file(tmp_path, base=pipe)
