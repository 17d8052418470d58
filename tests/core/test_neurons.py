"""Concept neurons: selection by the accumulated gradient of the scale, masks, their union, and the analysis."""

import pytest
import torch

from diffusers_persona import Concept, PersonaError, spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional.neurons import select, shut_off, union
from diffusers_persona.spaces import neuron_fractions


@pytest.mark.evidence(level="parity", recipe="cones")
def test_weights_whose_scale_the_loss_wants_lower_are_the_neurons():
    """Cones, section 3.2: dL/dscale = W dL/dW, summed; the highest positive ones are chosen."""
    scores = {"a": torch.tensor([[3.0, -9.0], [1.0, 0.0]]), "b": torch.tensor([2.0, -1.0, -2.0, -3.0])}
    assert {k: v.tolist() for k, v in select(scores, 0.25).items()} == {"a": [0], "b": [0]}
    assert {k: v.tolist() for k, v in select(scores, 0.9).items()} == {"a": [0, 2], "b": [0]}


@pytest.mark.evidence(level="parity", recipe="cones")
def test_learning_accumulates_the_gradient_of_the_scale(pipe):
    """A step of descent on u, W exp(u), is the paper's W (1 - rho W dL/dW) to first order, and -u / rho the sum."""
    host = of(pipe).private_clone()
    learner = spaces.ConceptNeurons().prepare(host, spaces.Subject(token="sks", noun="dog"))
    path, rho = next(iter(learner.parameters)), 1e-3
    module = host.denoiser.get_submodule(path.removeprefix("unet.").removesuffix(".weight"))
    stock = pipe.unet.get_parameter(path.removeprefix("unet.")).detach()
    optimiser = torch.optim.SGD(learner.parameters.values(), lr=rho)
    by_hand, total, text = stock.clone(), torch.zeros_like(stock), torch.randn(4, 32)
    for _ in range(3):
        module(text).pow(2).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        gradient = by_hand * (2 * (text @ by_hand.T).T @ text)
        total, by_hand = total + gradient, by_hand * (1 - rho * gradient)
    assert torch.allclose(-learner.parameters[path] / rho, total, rtol=2e-2, atol=2e-2 * float(total.abs().max()))
    assert torch.allclose(module.weight, by_hand, atol=2e-3)


@pytest.mark.evidence(level="parity", recipe="cones")
def test_several_concepts_shut_off_the_union_of_their_neurons(pipe, draw):
    """Section 3.3: concepts are concatenated by the union of their masks; a weight of both is shut off once."""
    path = f"unet.{of(pipe).attention_layers('cross')[0]}.to_v.weight"
    masks = [torch.tensor([0.0, 1.0, 2.0]), torch.tensor([2.0, 3.0])]
    weight = pipe.unet.get_parameter(path.removeprefix("unet."))
    stock, grips = weight.detach().clone(), []
    for number, mask in enumerate(masks):
        grips.append(spaces.Grip(key=(number,)))
        spaces.ConceptNeurons().attach(of(pipe), {f"{path}.neurons": mask}, grips[-1])
    now = pipe.unet.get_parameter(path.removeprefix("unet.")).detach().flatten()
    assert torch.equal(now[:4], torch.zeros(4)) and torch.equal(now[4:], stock.flatten()[4:])
    grips[0].release()
    now = pipe.unet.get_parameter(path.removeprefix("unet.")).detach().flatten()
    assert torch.equal(now[:2], stock.flatten()[:2]) and torch.equal(now[2:4], torch.zeros(2))
    grips[1].release()
    assert torch.equal(pipe.unet.get_parameter(path.removeprefix("unet.")), stock)
    assert "_persona_neurons" not in pipe.__dict__


def test_masks_of_half_strength_multiply():
    stock, one, two = torch.ones(3), torch.tensor([0, 1]), torch.tensor([1])
    first = 0.5 * shut_off(stock, one)
    second = 0.5 * shut_off(stock, two, before=[(one, 0.5)])
    assert torch.allclose(stock + first + second, torch.tensor([0.5, 0.25, 1.0]))


def test_the_union_of_masks():
    found = union([{"a": torch.tensor([1, 3])}, {"a": torch.tensor([3, 4]), "b": torch.tensor([0])}])
    assert {k: v.tolist() for k, v in found.items()} == {"a": [1, 3, 4], "b": [0]}


def test_a_learned_concept_is_a_list_of_neurons_and_tells_where_it_lives(pipe, learned):
    concept = learned(pipe, "cones", fraction=0.05)
    names = spaces.KeyWeights().names(of(pipe))
    total = sum(pipe.unet.get_parameter(name.removeprefix("unet.")).numel() for name in names)
    assert 0 < sum(len(v) for v in concept.tensors_of(0).values()) <= 0.05 * total
    fractions = neuron_fractions(concept, pipe)
    assert set(fractions) == {key.removesuffix(".neurons") for key in concept.tensors_of(0)}
    assert all(0 < value <= 1 for value in fractions.values())


def test_a_concept_without_neurons_has_no_fractions(pipe, learned):
    with pytest.raises(PersonaError, match="has no concept neurons"):
        neuron_fractions(learned(pipe, "textual-inversion"), pipe)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"unet.conv_in.weight": torch.ones(2)}, "is no list of neurons"),
        ({"unet.conv_in.weight.neurons": torch.tensor([9e6])}, "layer unet.conv_in: .*an index outside of"),
    ],
)
def test_indices_that_do_not_fit_are_named(tensors, message, pipe):
    grip = spaces.Grip(key=())
    with pytest.raises(PersonaError, match=message):
        spaces.ConceptNeurons().attach(of(pipe), tensors, grip)
    grip.release()
    assert "_persona_neurons" not in pipe.__dict__


def test_a_fraction_is_a_part():
    with pytest.raises(PersonaError, match="above 0, below 1"):
        spaces.ConceptNeurons(fraction=1.5)


def test_concepts_are_floats_in_their_files(pipe, learned, tmp_path):
    concept = learned(pipe, "cones")
    assert Concept.from_pretrained(concept.save_pretrained(tmp_path)).digest == concept.digest
