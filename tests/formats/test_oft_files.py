"""OFT and BOFT: the files of the official code and of PEFT, read and written; PEFT reads what we write."""

import json

import pytest
import torch
from factors import draw, layers, pipe_of, weights
from safetensors.torch import load_file, save_file

from diffusers_persona import Concept, PersonaError
from diffusers_persona.functional.orthogonal import cayley, rotate, skew
from diffusers_persona.testing import tiny_pipeline

ENDS = ("to_q", "to_k", "to_v", "to_out.0")


def official(pipe, *, blocks=4, shared=False):
    """The official file's content: R [r, b, b] of each attention projection, full matrices; and its buffers."""
    generator = torch.Generator().manual_seed(0)
    content = {}
    for name in layers(pipe.unet, ENDS):
        side = pipe.unet.get_submodule(name).in_features // blocks
        attention, _, part = name.removesuffix(".0").rpartition(".")
        matrix = torch.randn(1 if shared else blocks, side, side, generator=generator) * 0.2
        content[f"{attention}.processor.{part}_oft.R"] = matrix[0] if shared else matrix
        content[f"{attention}.processor.hidden_size"] = torch.tensor(32)
    return content


def expected(pipe, content, blocks=4):
    """W Q^T by the official formula, layer by layer."""
    found = {}
    for key, matrix in content.items():
        if key.endswith(".R"):
            name = key.replace(".processor", "").removesuffix("_oft.R").replace("to_out", "to_out.0")
            weight = pipe.unet.get_submodule(name).weight.detach()
            each = matrix.expand(blocks, -1, -1) if matrix.ndim == 2 else matrix
            skewed, one = (each - each.mT) / 2, torch.eye(each.shape[-1])
            q = torch.block_diag(*((one - s) @ torch.inverse(one + s) for s in skewed))
            found[name] = (q @ weight.T).T
    return found


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.evidence(level="formats", recipe="oft")
def test_the_file_of_the_official_code(suffix, shared, tmp_path):
    pipe, path = pipe_of("sd"), tmp_path / f"pytorch_lora_weights{suffix}"
    content = official(pipe, shared=shared)
    torch.save(content, path) if suffix == ".bin" else save_file(content, path)
    concept = Concept.from_file(path)
    assert not concept.report.unused and [space.kind for space in concept.spaces] == ["orthogonal"]
    values = expected(pipe, content)
    changes = weights(pipe, concept, "unet", list(values))
    for name, value in values.items():
        assert torch.allclose(pipe.unet.get_submodule(name).weight + changes[name], value, atol=1e-5), name


@pytest.mark.evidence(level="formats", recipe="oft")
def test_a_learned_concept_goes_to_the_official_file_and_back(learn_one, tmp_path):
    concept = learn_one("oft")
    concept.export("original", tmp_path)
    again = Concept.from_file(tmp_path / "pytorch_lora_weights.bin")
    for key, value in concept.tensors_of(0).items():
        assert torch.allclose(again.tensors_of(0)[key], value, atol=1e-6), key


@pytest.mark.evidence(level="formats", recipe="oft")
def test_peft_reads_what_a_learned_concept_writes(learn_one, tmp_path):
    from peft import PeftModel

    concept = learn_one("oft")
    pipe = pipe_of("sd")
    with concept.attach(pipe):
        ours = draw(pipe)
    concept.export("peft", tmp_path)
    theirs = tiny_pipeline("sd")
    theirs.unet = PeftModel.from_pretrained(theirs.unet, str(tmp_path)).merge_and_unload()
    assert abs(draw(theirs) - ours).max() < 1e-4 < abs(draw(pipe) - ours).max()
    again = Concept.from_file(tmp_path)
    for key, value in concept.tensors_of(0).items():
        assert torch.allclose(again.tensors_of(0)[key], value, atol=1e-6), key


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "exact"])
@pytest.mark.evidence(level="formats", recipe="oft")
def test_a_folder_of_peft_turns_the_way_that_its_config_says(fast, tmp_path):
    """PEFT's fast variant is the series of (I + S)(I - S)^-1: the other way round than the exact one."""
    from peft import OFTConfig, get_peft_model

    theirs, pipe = tiny_pipeline("sd"), pipe_of("sd")
    config = OFTConfig(r=4, oft_block_size=0, target_modules=["to_k"], use_cayley_neumann=fast)
    model = get_peft_model(theirs.unet, config)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "oft_R" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(tmp_path)
    theirs.unet = model.merge_and_unload()
    concept = Concept.from_file(tmp_path)
    with concept.attach(pipe):
        ours = draw(pipe)
    assert abs(draw(theirs) - ours).max() < 1e-4 < abs(draw(pipe) - ours).max()


def test_an_oft_file_of_peft_without_its_config_is_refused(learn_one, tmp_path):
    learn_one("oft").export("peft", tmp_path)
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(PersonaError, match="adapter_config.json does not lie beside it"):
        Concept.from_file(tmp_path / "adapter_model.safetensors")


@pytest.mark.evidence(level="formats", recipe="boft")
def test_boft_goes_to_peft_and_back(learn_one, tmp_path):
    concept = learn_one("boft")
    concept.export("peft", tmp_path)
    content, config = (
        load_file(tmp_path / "adapter_model.safetensors"),
        json.loads((tmp_path / "adapter_config.json").read_text()),
    )
    assert config["peft_type"] == "BOFT" and config["boft_n_butterfly_factor"] == 2 and config["boft_block_num"] == 4
    name = next(key for key in content if key.endswith(".boft_R"))
    path = "unet." + name.removeprefix("base_model.model.").removesuffix(".boft_R")
    parts = concept.spaces[0].layers(concept.tensors_of(0))[path]
    assert torch.allclose(content[name], skew(parts["rotation"])) and content[name].shape[:2] == (2, 4)
    again = Concept.from_file(tmp_path)
    for key, value in concept.tensors_of(0).items():
        assert torch.allclose(again.tensors_of(0)[key], value, atol=1e-6), key


@pytest.mark.evidence(level="formats", recipe="boft")
def test_weights_of_boft_are_those_of_peft(monkeypatch):
    """PEFT's layer with two butterfly factors; its CUDA kernel for block diagonals is replaced by torch's."""
    from peft import BOFTConfig, inject_adapter_in_model
    from peft.tuners.boft import layer as theirs

    class Blocks:
        @staticmethod
        def apply(blocks):
            return torch.stack([torch.block_diag(*factor) for factor in blocks])

    monkeypatch.setattr(theirs, "get_fbd_cuda", lambda: True)
    monkeypatch.setattr(theirs, "FastBlockDiag", Blocks)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 6))
    stock = model[0].weight.detach().clone()
    config = BOFTConfig(boft_block_num=4, boft_block_size=0, boft_n_butterfly_factor=3, target_modules=["0"])
    inject_adapter_in_model(config, model, "x")
    matrices, scales = model[0].boft_R["x"], model[0].boft_s["x"]
    torch.nn.init.normal_(matrices, std=0.3)
    torch.nn.init.uniform_(scales)
    x = torch.randn(3, 16)
    ours = rotate(stock, cayley((matrices - matrices.mT) / 2)) * scales
    assert torch.allclose(model(x), x @ ours.T + model[0].base_layer.bias, atol=1e-5)
