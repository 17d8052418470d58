"""TuneQDM's scales in the official code's file, read and written."""

import pytest
import torch
from factors import pipe_of, weights

from diffusers_persona import Concept, PersonaError
from diffusers_persona.functional.quantisation import quantise

LINEAR, KERNEL = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "conv_in"


def state(pipe, experts=2):
    """As the official code saves it: scales, and beside them integers, zero points and biases."""
    found = {}
    for name in (LINEAR, KERNEL):
        weight = pipe.unet.get_submodule(name).weight.detach()
        sides = [1] * (weight.ndim - 2)
        scales = quantise(weight, 8).scales * 1.1
        found[f"{name}.delta_out_experts"] = scales.view(1, -1, 1, *sides).repeat(experts, 1, 1, *sides)
        found[f"{name}.delta_in_experts"] = torch.ones(experts, 1, weight.shape[1], *sides)
        found[f"{name}.weight_int"] = torch.zeros(weight.shape, dtype=torch.int8)
        found[f"{name}.zero_point"] = torch.zeros(len(weight), 1, *sides)
    return found


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.evidence(level="formats", recipe="ryu-tuneqdm")
def test_the_file_of_the_official_code(wrapped, tmp_path):
    pipe = pipe_of("sd")
    config = {"n_bits": 8, "symmetric": False, "num_experts": 2}
    content = state(pipe)
    torch.save({"delta_state": content, "config": config} if wrapped else content, tmp_path / "scales.pt")
    concept = Concept.from_file(tmp_path / "scales.pt")
    assert not concept.report.unused and (concept.spaces[0].experts, concept.spaces[0].bits) == (2, 8)
    changes = weights(pipe, concept, "unet", [LINEAR, KERNEL])
    for name, change in changes.items():
        stock = pipe.unet.get_submodule(name).weight.detach()
        centred, scales = quantise(stock, 8)
        expected = centred * 1.1 * scales.view(-1, *[1] * (stock.ndim - 1))
        assert torch.allclose(stock + change, expected, atol=1e-6), name


@pytest.mark.evidence(level="formats", recipe="ryu-tuneqdm")
def test_a_learned_concept_goes_to_the_file_and_back(learn_one, tmp_path):
    pipe, concept = pipe_of("sd"), learn_one("ryu-tuneqdm")
    concept.export("original", tmp_path, pipe=pipe)
    content = torch.load(tmp_path / "tuneqdm.pt", weights_only=True)
    assert content["config"]["n_bits"] == 8 and content["delta_state"]["conv_in.delta_out_experts"].ndim == 5
    again = Concept.from_file(tmp_path / "tuneqdm.pt")
    assert all(torch.equal(again.tensors_of(0)[key], value) for key, value in concept.tensors_of(0).items())


def test_symmetric_quantisation_is_refused(tmp_path):
    torch.save({"delta_state": state(pipe_of("sd")), "config": {"symmetric": True}}, tmp_path / "scales.pt")
    with pytest.raises(PersonaError, match="quantised symmetrically"):
        Concept.from_file(tmp_path / "scales.pt")
