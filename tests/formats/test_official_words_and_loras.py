"""What the official releases of ReVersion, Inspiration Tree, DCO and MuDI leave on disk."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusers_persona import Concept, learn
from diffusers_persona.testing import tiny_pictures, tiny_pipeline

WIDTH = 32  # of the tiny text encoder


@pytest.mark.evidence(level="formats", recipe="reversion")
def test_a_relation_is_one_flat_vector_in_a_torch_file(tmp_path):
    vector = torch.randn(WIDTH)
    torch.save({"<R>": vector}, tmp_path / "learned_embeds.bin")
    concept = Concept.from_file(tmp_path / "learned_embeds.bin")
    assert concept.token == "<R>"
    assert torch.equal(concept.tensors_of(0)["text_encoder.embedding"], vector[None])
    pipe = tiny_pipeline("sd")
    with concept.attach(pipe):
        pipe("a cat <R> a dog", num_inference_steps=1, height=32, width=32)


@pytest.mark.evidence(level="formats", recipe="inspiration-tree")
def test_a_node_of_the_tree_is_two_words_in_one_file(tmp_path):
    left, right = torch.randn(WIDTH), torch.randn(WIDTH)
    torch.save({"<*>": left, "<&>": right}, tmp_path / "learned_embeds-steps-500.bin")
    concept = Concept.from_file(tmp_path / "learned_embeds-steps-500.bin", token=["<left>", "<right>"])
    assert [space.token for space in concept.spaces] == ["<left>", "<right>"]
    assert torch.equal(concept.tensors_of(1)["text_encoder.embedding"], right[None])


def learned(recipe, family, **numbers):
    pipe, small = tiny_pipeline(family), dict(steps=1, batch_size=1, rank=2, progress=False)
    return pipe, learn(pipe, tiny_pictures(1), recipe, noun="dog", **small, **numbers)


@pytest.mark.evidence(level="formats", recipe="dco")
def test_a_consistent_concept_is_a_lora_with_words_by_encoder_beside_it(tmp_path):
    _, concept = learned("dco", "sdxl")
    concept.export("diffusers", tmp_path)
    assert (tmp_path / "pytorch_lora_weights.safetensors").exists()
    words = concept.tensors_of(0)
    for path in tmp_path.glob("learned_embeds*"):
        path.unlink()
    official = {"clip_l": words["text_encoder.embedding"], "clip_g": words["text_encoder_2.embedding"]}
    save_file(official, tmp_path / "learned_embeds.safetensors")
    read = Concept.from_file(tmp_path, token="<dog>", noun="dog")
    kinds = {space.kind: read.tensors_of(i) for i, space in enumerate(read.spaces)}
    assert set(kinds) == {"word", "low_rank"}
    assert torch.equal(kinds["word"]["text_encoder_2.embedding"], official["clip_g"])
    assert not read.report.unused


@pytest.mark.evidence(level="formats", recipe="mudi")
def test_several_subjects_are_one_stock_lora(tmp_path):
    pipe, concept = learned("mudi", "sdxl", prior_weight=0.0)
    concept.export("diffusers", tmp_path)
    assert load_file(tmp_path / "pytorch_lora_weights.safetensors")
    pipe.load_lora_weights(tmp_path)
    read = Concept.from_file(tmp_path)
    assert {space.kind for space in read.spaces} == {"low_rank"}
    assert not read.report.unused
