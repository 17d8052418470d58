"""Two-word faces in the layouts of Celeb Basis, Cross Initialization and StableIdentity, SingleInsert's folder."""

import pytest
import torch

from diffusers_persona import Concept, PersonaError

PAIR = torch.randn(2, 768, generator=torch.Generator().manual_seed(0))
OTHER = PAIR.flip(0) + 1


def saved(path, content):
    torch.save(content, path)
    return path


def embeddings(concept):
    return [concept.tensors_of(i)["text_encoder.embedding"] for i in range(len(concept.spaces))]


@pytest.mark.evidence(level="formats", recipe="celeb-basis")
def test_celeb_basis_identities_are_words_of_two_vectors_and_are_written_again(tmp_path):
    concept = Concept.from_file(saved(tmp_path / "ada.pt", {"id_embeddings": [PAIR, OTHER]}))
    assert [space.token for space in concept.spaces] == ["<ada>", "<ada-2>"]
    assert all(map(torch.equal, embeddings(concept), [PAIR, OTHER]))
    (path,) = concept.export("celeb-basis", tmp_path / "out")
    again = torch.load(path, weights_only=True)
    assert all(map(torch.equal, again["id_embeddings"], [PAIR, OTHER]))


@pytest.mark.evidence(level="formats", recipe="celeb-basis")
def test_celeb_basis_coefficients_are_refused_with_the_next_step(tmp_path):
    path = saved(tmp_path / "c.pt", {"id_coefficients": [torch.randn(2, 1, 512)]})
    with pytest.raises(PersonaError, match="let the release write id_embeddings"):
        Concept.from_file(path)


@pytest.mark.evidence(level="formats", recipe="cross-initialization")
def test_cross_initialization_keys_are_one_word_and_are_written_again(tmp_path):
    content = {"ada_v0": PAIR[0], "ada_v1": PAIR[1]}
    path = saved(tmp_path / "learned_embeds.bin", content)
    concept = Concept.from_file(path, token="<ada>")
    assert [(space.token, space.vectors) for space in concept.spaces] == [("<ada>", 2)]
    assert torch.equal(embeddings(concept)[0], PAIR)
    (out,) = Concept.from_file(path).export("cross-initialization", tmp_path / "out")
    assert {k: v.tolist() for k, v in torch.load(out, weights_only=True).items()} == {
        k: v.tolist() for k, v in content.items()
    }
    words = Concept.from_file(path, token=["<a>", "<b>"])
    assert [space.vectors for space in words.spaces] == [1, 1]


@pytest.mark.evidence(level="formats", recipe="stable-identity")
def test_a_stable_identity_tensor_is_a_word_and_is_written_again(tmp_path):
    concept = Concept.from_file(saved(tmp_path / "ada.pt", PAIR[None].clone().requires_grad_()))
    assert [(space.token, space.vectors) for space in concept.spaces] == [("<ada>", 2)]
    (out,) = concept.export("stable-identity", tmp_path / "out")
    assert torch.equal(torch.load(out, weights_only=True), PAIR[None])


@pytest.mark.evidence(level="formats", recipe=("id-booth", "gradient-free-ti", "singleinsert"))
def test_a_word_beside_a_lora_is_one_concept_as_singleinsert_stores_them(tmp_path):
    from safetensors.torch import save_file

    saved(tmp_path / "learned_embeds.bin", {"_*_": PAIR[0]})
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora"
    factors = {f"{layer}.down.weight": torch.randn(4, 320), f"{layer}.up.weight": torch.randn(320, 4)}
    save_file(factors, tmp_path / "pytorch_lora_weights.safetensors")
    concept = Concept.from_file(tmp_path)
    assert {space.kind for space in concept.spaces} == {"word", "low_rank"}
    assert "_*_" in [space.token for space in concept.spaces if space.adds_token]


@pytest.mark.evidence(level="formats", recipe="magicapture")
def test_numbered_layers_of_the_first_lora_scripts_find_their_places(tmp_path):
    from safetensors.torch import save_file

    widths = [320, 320, 640, 640, 1280, 1280, *[1280] * 3, *[640] * 3, *[320] * 3, 1280]
    tensors = {"<s1>": PAIR[0], "text_encoder:5:down": torch.ones(1, 768), "text_encoder:5:up": torch.ones(768, 1)}
    for number, width in enumerate(widths):
        ends = [*[(width, width)] * 4, (width, 8 * width), (width, width), *[(768, width)] * 2, (width, width)]
        for n, (inner, outer) in enumerate(ends, 9 * number):
            tensors |= {f"unet:{n}:down": torch.full((1, inner), float(n)), f"unet:{n}:up": torch.ones(outer, 1)}
    save_file(
        tensors, tmp_path / "final.safetensors", metadata={"unet": '["GEGLU", "CrossAttention"]', "<s1>": "<embed>"}
    )
    concept = Concept.from_file(tmp_path / "final.safetensors")
    lora, word = concept.spaces
    assert (lora.kind, word.kind, word.token) == ("low_rank", "word", "<s1>") and not concept.report.unused
    factors = concept.tensors_of(0)
    block = "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
    assert factors[block].shape == (1, 768) and float(factors[block][0, 0]) == 6 * 9 + 6
    assert any(name.endswith("layers.1.self_attn.v_proj.lora_A.weight") for name in factors)
    save_file(
        {k: v for k, v in tensors.items() if k != "unet:4:down"} | {"unet:4:down": torch.ones(1, 77)},
        tmp_path / "w.st",
    )
    (tmp_path / "w.st").rename(tmp_path / "wrong.safetensors")
    with pytest.raises(PersonaError, match="does not fit layer 4"):
        Concept.from_file(tmp_path / "wrong.safetensors")
