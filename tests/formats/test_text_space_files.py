"""Official files of concepts in a text encoder's output or layers, and of a word with its negative."""

import json

import pytest
import torch

from diffusers_persona import Concept, PersonaError
from diffusers_persona.formats.text_spaces import ADAPTER
from diffusers_persona.testing import tiny_pipeline

RNG = torch.Generator().manual_seed(0)
KEY = (
    "text_model.encoder.layers.{}.self_attn.prefix_tuning.pool.prefix_tunings.prefix_tuning1.self_prefix.control_trans"
)


def rows(*shape):
    return torch.randn(*shape, generator=RNG)


def written(folder, name, content):
    torch.save(content, folder / name)
    return folder / name


def loads_alike(concept, path, **options):
    """Written by us and read again, the tensors are the same."""
    return Concept.from_file(path, **options).digest == concept.digest


@pytest.mark.evidence(level="formats", recipe="hiper")
def test_a_hiper_file_is_the_last_vectors_of_the_output(tmp_path):
    value = rows(1, 5, 32)
    concept = Concept.from_file(written(tmp_path, "hiper_embeddings_step1300.pt", value), noun="dog")
    (space,) = concept.spaces
    assert (space.kind, space.vectors, space.use, space.noun) == ("text_output", 5, 0.8, "dog")
    assert torch.equal(concept.tensors_of(0)["text_encoder.embedding"], value[0])
    assert concept.phrase == "dog"
    (file,) = concept.export("original", tmp_path / "out")
    assert file.name == "hiper_embeddings_step0.pt" and torch.load(file).shape == (1, 5, 32)
    assert loads_alike(concept, file, noun="dog")
    with concept.attach(tiny_pipeline("sd")):
        pass


@pytest.mark.evidence(level="formats", recipe="cones2")
def test_a_cones_2_file_is_a_residual_when_it_is_said_to_be(tmp_path):
    path = written(tmp_path, "dog.pt", rows(1, 1024))
    assert Concept.from_file(path).spaces[0].kind == "word"
    concept = Concept.from_file(path, noun="dog", space="text_residual")
    assert concept.spaces[0].kind == "text_residual" and concept.spaces[0].noun == "dog"
    (file,) = concept.export("original", tmp_path / "out")
    assert file.name == "dog.pt" and loads_alike(concept, file, noun="dog", space="text_residual")


@pytest.mark.evidence(level="formats", recipe="aesthetic-gradients")
def test_an_aesthetic_embedding_takes_the_projection_from_its_clip(tmp_path):
    path = written(tmp_path, "sac_8plus.pt", (17.0 * rows(1, 128)).half())
    concept = Concept.from_file(path, noun="style", space="tuned_text")
    pipe = tiny_pipeline("sd")
    with concept.attach(pipe):
        assert pipe.text_encoder._forward_hooks
    (file,) = concept.export("original", tmp_path / "out")
    assert loads_alike(concept, file, noun="style", space="tuned_text")
    with pytest.raises(PersonaError, match="one vector"):
        Concept.from_file(written(tmp_path, "two.pt", rows(2, 128)), space="tuned_text")
    with pytest.raises(PersonaError, match="choose word"):
        Concept.from_file(path, space="low_rank")


@pytest.mark.evidence(level="formats", recipe="catversion")
def test_a_catversion_folder_holds_one_vector_for_all_layers(tmp_path):
    """[n, K9, V9, K10, V10, ...]: copies of it stand in each layer."""
    value = rows(4 * 32)
    content = {KEY.format(layer): value for layer in (0, 1)} | {"prefix_tuning.prefix_tunings.x.control_trans": value}
    written(tmp_path, "pytorch_adapter.bin", content)
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"config": {"architecture": "prefix_tuning", "flat": True, "prefix_length": 1}})
    )
    concept = Concept.from_file(tmp_path / "pytorch_adapter.bin", noun="dog")
    (space,) = concept.spaces
    assert (space.layers, space.length, space.bias) == (2, 1, 1.0)
    prefix = concept.tensors_of(0)["text_encoder.prefix"]
    assert prefix.shape == (2, 2, 1, 32) and torch.equal(prefix[1, 0, 0], value[64:96])
    assert len(concept.report.matched) == 3
    with concept.attach(tiny_pipeline("sd")):
        pass
    written(tmp_path, "pytorch_adapter.bin", content | {KEY.format(1): value + 1})
    with pytest.raises(PersonaError, match="copies of the prefix differ"):
        Concept.from_file(tmp_path / "pytorch_adapter.bin")


@pytest.mark.evidence(level="formats", recipe="disenbooth")
def test_a_disenbooth_folder_is_a_lora_and_an_adapter(tmp_path):
    from safetensors.torch import save_file

    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    pairs = {f"{layer}.lora_A.weight": rows(2, 64), f"{layer}.lora_B.weight": rows(64, 2)}
    save_file(pairs, tmp_path / "pytorch_lora_weights.safetensors")
    shapes = dict(zip(ADAPTER, ((16, 16), (16,), (16, 16), (16,), (16,))))
    written(tmp_path, "adapter.pt", {name: rows(*shape) for name, shape in shapes.items()})
    concept = Concept.from_file(tmp_path, noun="dog")
    assert {space.kind for space in concept.spaces} == {"low_rank", "image_branch"}
    files = concept.export("disenbooth", tmp_path / "out")
    assert {file.name for file in files} == {"pytorch_lora_weights.safetensors", "adapter.pt"}
    assert set(torch.load(tmp_path / "out" / "adapter.pt")) == set(ADAPTER)
    assert loads_alike(concept, tmp_path / "out", noun="dog")


@pytest.mark.evidence(level="formats", recipe="dreamartist")
def test_a_dreamartist_pair_is_a_word_and_its_negative_prompt(tmp_path):
    def file(name, count):
        matrix = {"*": rows(count, 32)}
        return {"string_to_token": {"*": 265}, "string_to_param": matrix, "name": name, "step": 2500}

    written(tmp_path, "ani.pt", file("ani", 3))
    written(tmp_path, "ani-neg.pt", file("ani-neg", 6))
    concept = Concept.from_file(tmp_path)
    assert (concept.token, concept.phrase, concept.negative) == ("ani", "ani", "ani-neg")
    assert {space.token: space.vectors for space in concept.spaces} == {"ani": 3, "ani-neg": 6}
    files = concept.export("a1111", tmp_path / "out")
    assert sorted(each.name for each in files) == ["ani-neg.pt", "ani.pt"]
    again = Concept.from_file(tmp_path / "out")
    assert (again.digest, again.negative) == (concept.digest, "ani-neg")


@pytest.mark.evidence(level="formats", recipe="textboost")
def test_a_textboost_folder_is_a_text_encoder_with_factors_and_a_word(tmp_path):
    """PEFT writes the factors among the text encoder's own weights; the word's row ends the token table."""
    from peft import LoraConfig, inject_adapter_in_model
    from safetensors.torch import save_file

    pipe = tiny_pipeline("sd")
    encoder, count = pipe.text_encoder, len(pipe.tokenizer)
    encoder.resize_token_embeddings(count + 2)
    config = LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    inject_adapter_in_model(config, encoder, "default")
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "tokenizer").mkdir()
    save_file(encoder.state_dict(), tmp_path / "text_encoder" / "model.safetensors")
    words = {"<dog>": count, "<hflip>": count + 1}
    (tmp_path / "tokenizer" / "added_tokens.json").write_text(json.dumps(words))
    concept = Concept.from_file(tmp_path / "text_encoder" / "model.safetensors", noun="dog")
    low_rank, word = concept.spaces
    assert (low_rank.kind, low_rank.rank, low_rank.denoiser, word.token) == ("low_rank", 2, False, "<dog>")
    assert concept.phrase == "<dog> dog"
    row = encoder.get_input_embeddings().weight[count]
    assert torch.equal(concept.tensors_of(1)["text_encoder.embedding"][0], row)
    host = tiny_pipeline("sd")
    ids = torch.tensor([[0, 5, 6, 1]])
    with concept.attach(host), torch.no_grad():
        assert torch.allclose(host.text_encoder(ids)[0], encoder(ids)[0], atol=1e-5)
    with pytest.raises(PersonaError, match="has no word '<cat>', but <dog>, <hflip>"):
        Concept.from_file(tmp_path / "text_encoder" / "model.safetensors", token="<cat>")
