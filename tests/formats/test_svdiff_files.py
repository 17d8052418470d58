"""SVDiff's spectral shifts in the files of svdiff-pytorch, read and written."""

import pytest
import torch
from factors import pipe_of, weights
from safetensors.torch import load_file, save_file

from diffusers_persona import Concept, PersonaError

MATRIX, KERNEL, NORM = "mid_block.attentions.0.proj_in", "conv_in", "conv_norm_out"
TEXT = "text_model.encoder.layers.0.self_attn.q_proj"


def shifts(pipe):
    generator = torch.Generator().manual_seed(0)
    root = pipe.unet
    return {
        f"{MATRIX}.delta": torch.randn(min(root.get_submodule(MATRIX).weight.flatten(1).shape), generator=generator),
        f"{KERNEL}.delta": torch.randn(min(root.conv_in.weight.flatten(1).shape), generator=generator),
        f"{NORM}.delta": torch.tensor([0.5]),
    }


def by_formula(weight, shift):
    matrix = weight.detach().reshape(1, -1) if weight.ndim == 1 else weight.detach().flatten(1)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return (u @ torch.diag((s + shift).relu()) @ vh).reshape(weight.shape) - weight.detach()


@pytest.mark.evidence(level="formats", recipe="svdiff")
def test_the_files_of_svdiff_pytorch(tmp_path):
    """The UNet's file is enough; the text encoder's is read with it where it lies beside."""
    pipe = pipe_of("sd")
    content = shifts(pipe)
    save_file(content, tmp_path / "spectral_shifts.safetensors")
    save_file({f"{TEXT}.delta": torch.ones(32)}, tmp_path / "spectral_shifts_te.safetensors")
    concept = Concept.from_file(tmp_path / "spectral_shifts.safetensors")
    assert {space.kind for space in concept.spaces} == {"spectral", "spectral_vectors"}
    assert len(concept.report.matched) == 4 and concept.spaces[0].text_encoders
    names = [MATRIX, KERNEL, NORM]
    changes = weights(pipe, concept, "unet", names)
    for name in names:
        expected = by_formula(pipe.unet.get_submodule(name).weight, content[f"{name}.delta"])
        assert torch.allclose(changes[name], expected, atol=1e-5), name
    text = TEXT.removeprefix("text_model.")
    change = weights(pipe, concept, "text_encoder", [text])[text]
    assert torch.allclose(change, by_formula(pipe.text_encoder.get_submodule(text).weight, torch.ones(32)), atol=1e-5)


@pytest.mark.evidence(level="formats", recipe="svdiff")
def test_a_learned_concept_goes_to_the_files_and_back(learn_one, tmp_path):
    concept = learn_one("svdiff", train_text_encoder=True)
    concept.export("original", tmp_path)
    unet = load_file(tmp_path / "spectral_shifts.safetensors")
    assert all(key.endswith(".delta") for key in unet) and "conv_in.delta" in unet and "conv_norm_out.delta" in unet
    again = Concept.from_file(tmp_path / "spectral_shifts.safetensors")
    pipe = pipe_of("sd")
    for component, names in (("unet", [MATRIX, NORM]), ("text_encoder", [TEXT.removeprefix("text_model.")])):
        first, second = (weights(pipe, each, component, names) for each in (concept, again))
        assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in names)


def test_a_shift_of_no_layer_is_named(tmp_path):
    save_file({"wheels.front.delta": torch.ones(3)}, tmp_path / "shifts.safetensors")
    with pytest.raises(PersonaError, match="'wheels.front.delta' is a shift of no layer"):
        Concept.from_file(tmp_path / "shifts.safetensors")


def test_a_shift_of_another_width_names_the_layer(tmp_path):
    save_file({"conv_in.delta": torch.ones(3)}, tmp_path / "shifts.safetensors")
    with pytest.raises(PersonaError, match=r"layer unet.conv_in: .*a shift of \(3,\) for 32 singular values"):
        Concept.from_file(tmp_path / "shifts.safetensors").attach(pipe_of("sd"))
