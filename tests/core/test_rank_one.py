"""Perfusion's gated rank-one edit: its equations, how i* follows the word, and several concepts on one host."""

import pytest
import torch
from torch.nn import functional as F

from diffusers_persona import PersonaError, spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional.rank_one import gated_edit, gated_projection, inverse_moment

ONE = torch.ones(1)


@pytest.mark.evidence(level="parity", recipe="perfusion")
def test_the_edit_on_values_by_hand():
    """C = I, i* = (2, 0), e = (2, 3): the part along i* goes, the gate is sigmoid((1 - 0.75) / 0.1)."""
    weight, target = torch.tensor([[1.0, 1.0]]), torch.tensor([2.0, 0.0])
    found = gated_edit(weight, torch.tensor([[2.0, 3.0]]), target, target, torch.tensor([10.0]), 0.75, 0.1)
    assert torch.allclose(found, torch.tensor([[3.0]]) + 10 * torch.sigmoid(torch.tensor(2.5)))


@pytest.mark.evidence(level="parity", recipe="perfusion")
def test_an_encoding_that_is_orthogonal_under_c_inverse_passes_unchanged():
    weight, target, inverse = torch.randn(4, 6), torch.randn(6), inverse_moment(torch.randn(50, 6))
    e = torch.randn(3, 6)
    e = e - (e @ inverse @ target / (target @ inverse @ target))[:, None] * target
    found = gated_edit(weight, e, target, inverse @ target, torch.ones(4), 0.75, 0.1)
    assert torch.allclose(found, F.linear(e, weight) + torch.sigmoid(torch.tensor(-7.5)), atol=1e-5)


@pytest.mark.evidence(level="parity", recipe="perfusion")
def test_the_inverse_moment_is_that_of_uncentred_encodings():
    rows = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    assert torch.allclose(inverse_moment(rows, ridge=0.0), torch.diag(torch.tensor([1 / 2.5, 1 / 2.0])))


@pytest.mark.evidence(level="parity", recipe="perfusion")
def test_several_concepts_are_projected_out_together():
    """Section 4.3: an encoding in the span of the i* leaves nothing to the stock map, whatever their angles."""
    inputs, inverse = torch.randn(3, 8), inverse_moment(torch.randn(60, 8))
    e = torch.randn(5, 3) @ inputs
    ones = torch.ones(3)
    rest, gates = gated_projection(e, inputs, inputs @ inverse, ones, 0.6 * ones, 0.1 * ones)
    assert rest.abs().max() < 1e-3 * e.abs().max() and gates.shape == (5, 3)


def tensors(pipe, seed):
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=random)  # noqa: E731
    found = {"input": draw(32), "direction": draw(32)}
    for layer in of(pipe).attention_layers("cross"):
        rows = pipe.unet.get_submodule(layer).to_k.out_features
        found |= {f"unet.{layer}.{part}.output": draw(rows) for part in ("to_k", "to_v")}
    return found


def test_a_strength_of_zero_is_the_stock_map_and_one_the_edit(pipe):
    own, grip = tensors(pipe, 0), spaces.Grip(key=(), scale=0.0)
    layer = pipe.unet.get_submodule(of(pipe).attention_layers("cross")[0])
    e = torch.randn(1, 5, 32)
    stock = layer.to_v(e)
    spaces.RankOne().attach(of(pipe), own, grip)
    assert torch.equal(layer.to_v(e), stock)
    grip.scale = 1.0
    path = f"unet.{of(pipe).attention_layers('cross')[0]}.to_v"
    expected = gated_edit(layer.to_v.weight, e, own["input"], own["direction"], own[f"{path}.output"], 0.75, 0.1)
    assert torch.allclose(layer.to_v(e), expected, atol=1e-4)
    grip.release()
    assert torch.equal(layer.to_v(e), stock)


@pytest.mark.parametrize("order", ["before", "after"])
def test_fused_projections_are_edited_too(order, pipe, draw):
    """Stock pipelines may fuse keys and values into one layer at any time."""
    grip = spaces.Grip(key=())
    spaces.RankOne().attach(of(pipe), tensors(pipe, 0), grip)
    expected = draw(pipe)
    grip.release()
    stock = draw(pipe)
    grip = spaces.Grip(key=())
    if order == "before":
        pipe.fuse_qkv_projections(vae=False)
    spaces.RankOne().attach(of(pipe), tensors(pipe, 0), grip)
    if order == "after":
        pipe.fuse_qkv_projections(vae=False)
    assert abs(draw(pipe) - expected).max() < 1e-4 < abs(expected - stock).max()
    grip.release()
    assert abs(draw(pipe) - stock).max() < 1e-4
    pipe.unfuse_qkv_projections(vae=False)


def test_offloading_and_half_precision_go_on_working(pipe, draw):
    grip = spaces.Grip(key=())
    spaces.RankOne().attach(of(pipe), tensors(pipe, 0), grip)
    expected = draw(pipe)
    pipe.enable_model_cpu_offload(device="cpu")
    assert abs(draw(pipe) - expected).max() < 1e-5
    pipe.remove_all_hooks()
    pipe.to(torch.bfloat16)
    assert abs(draw(pipe) - expected).max() < 0.2
    grip.release()


def test_two_concepts_give_the_same_in_any_order(pipe, draw):
    pictures = []
    for order in ((0, 1), (1, 0)):
        grips = [spaces.Grip(key=(number,)) for number in order]
        for number, grip in zip(order, grips):
            spaces.RankOne().attach(of(pipe), tensors(pipe, number), grip)
        pictures.append(draw(pipe))
        for grip in grips:
            grip.release()
    assert (pictures[0] == pictures[1]).all()


@pytest.mark.evidence(level="parity", recipe="perfusion")
def test_the_target_follows_the_words_encoding(pipe):
    """i* is a moving average of the encodings at the word's place: i* <- p i* + (1 - p) e."""
    host, subject = of(pipe).private_clone(), spaces.Subject(token="<mug>", noun="dog")
    spaces.Word(init="random").prepare(host, subject)
    learner = spaces.RankOne(decay=0.5).prepare(host, subject)
    before = learner.state["input"].detach().clone()

    class Batch:
        prompts = ("a photo of <mug>", "a photo of cat")

    conditions = host.encode_text(host.tokenize(list(Batch.prompts)))
    learner.follow(Batch, None)
    host.denoise(torch.randn(2, 4, 16, 16), torch.tensor([5, 5]), conditions)
    place = conditions["encoder_hidden_states"][0, 4].detach()
    assert torch.allclose(learner.state["input"], (before + place) / 2, atol=1e-5)
    host.denoise(torch.randn(2, 4, 16, 16), torch.tensor([5, 5]), conditions)
    assert torch.allclose(learner.state["input"], (before + place) / 2, atol=1e-5)


def test_keys_are_locked_to_the_class_and_values_are_learned(pipe, learned):
    concept = learned(pipe, "perfusion", lr_output=2e-2)
    found, layer = concept.tensors_of(1), of(pipe).attention_layers("cross")[0]
    attention = pipe.unet.get_submodule(layer)
    ids = of(pipe).tokenize(["a photo of a dog"])
    encoding = of(pipe).encode_text(ids)["encoder_hidden_states"][0, 5]
    assert torch.allclose(found[f"unet.{layer}.to_k.output"], attention.to_k(encoding), atol=1e-5)
    assert (found[f"unet.{layer}.to_v.output"] - attention.to_v(encoding)).abs().max() > 1e-3


@pytest.mark.evidence(level="parity", recipe="perfusion")
def test_the_gate_is_a_knob_of_the_learned_concept(pipe, learned, draw):
    """Section 4.2: beta and tau choose the point between the concept and the prompt after learning."""
    concept = learned(pipe, "perfusion")
    opener = spaces.with_gate(concept, bias=0.2, temperature=0.15)
    assert opener.spaces[1].bias_in_use == 0.2 and opener.spaces[1].bias == 0.75 and opener.digest == concept.digest
    pictures = []
    for each in (concept, opener):
        with each.attach(pipe):
            pictures.append(draw(pipe, f"a photo of {each.phrase}"))
    assert abs(pictures[0] - pictures[1]).max() > 1e-3
    with pytest.raises(PersonaError, match="has no gate"):
        spaces.with_gate(learned(pipe, "textual-inversion"), bias=0.2)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.pop("input"), "needs the keys 'input' and 'direction'"),
        (lambda t: t.update(input=torch.ones(7)), r"the concept edits \(7,\)"),
        (lambda t: t.update({"unet.nowhere.to_k.output": torch.ones(7)}), "layer unet.nowhere"),
    ],
)
def test_what_does_not_fit_is_named(spoil, message, pipe):
    own, grip = tensors(pipe, 0), spaces.Grip(key=())
    spoil(own)
    with pytest.raises(PersonaError, match=message):
        spaces.RankOne().attach(of(pipe), own, grip)
    grip.release()


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(PersonaError, match="temperatures are above 0"):
        spaces.RankOne(temperature=0.0)
