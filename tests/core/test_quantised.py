"""TuneQDM: quantisation for each output channel, scales for each side, experts for each part of the time."""

import pytest
import torch

from diffusers_persona import PersonaError, spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional.quantisation import expert, quantise, rescaled


@pytest.mark.evidence(level="parity", recipe="ryu-tuneqdm")
def test_quantisation_on_values_by_hand():
    """Two bits, -1 to 2: the scale is 1, integers -2 to 1, the zero point -1; -0.4 goes to 0."""
    found = quantise(torch.tensor([[-1.0, 2.0, -0.4]]), 2)
    assert torch.equal(found.scales, torch.tensor([1.0]))
    assert torch.equal(found.centred, torch.tensor([[-1.0, 2.0, 0.0]]))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.evidence(level="parity", recipe="ryu-tuneqdm")
def test_quantised_weights_are_at_most_one_step_away(bits):
    """For linear layers and kernels: half a scale, and at the ends of the range up to one more by the zero point."""
    for weight in (torch.randn(6, 9), torch.randn(4, 3, 3, 3)):
        centred, scales = quantise(weight, bits)
        whole = rescaled(centred, scales, torch.ones(weight.shape[1]))
        error = (whole - weight).flatten(1).abs().amax(1)
        assert (error <= 1.001 * scales).all() and len(centred[0].unique()) <= 2**bits


@pytest.mark.evidence(level="parity", recipe="ryu-tuneqdm")
def test_an_expert_belongs_to_a_part_of_the_time():
    """i = floor(t N / T)."""
    assert expert(torch.tensor([0, 249, 250, 999]), 1000, 4).tolist() == [0, 0, 1, 3]


def test_each_row_learns_with_the_scales_of_its_own_timestep(pipe):
    """And the user's host, with the same scales, predicts the same at each timestep, switching by itself."""
    host, space = of(pipe).private_clone(), spaces.QuantisedScales(bits=8, experts=2)
    learner = space.prepare(host, spaces.Subject(token="sks", noun="dog"))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    noisy, text = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 32)
    timesteps = torch.tensor([900, 100])
    learning = host.denoise(noisy, timesteps, {"encoder_hidden_states": text})
    user, grip = of(pipe), spaces.Grip(key=())
    stock = user.denoise(noisy, timesteps, {"encoder_hidden_states": text})
    space.attach(user, learner.tensors(), grip)
    for row in (0, 1, 0):
        alone = user.denoise(
            noisy[row : row + 1], timesteps[row : row + 1], {"encoder_hidden_states": text[row : row + 1]}
        )
        assert torch.allclose(alone[0], learning[row], atol=1e-4)
    grip.release()
    assert torch.equal(user.denoise(noisy, timesteps, {"encoder_hidden_states": text}), stock)


def test_gradients_reach_the_expert_in_use_alone(pipe):
    host = of(pipe).private_clone()
    learner = spaces.QuantisedScales(experts=4).prepare(host, spaces.Subject(token="sks", noun="dog"))
    conditions = {"encoder_hidden_states": torch.randn(1, 77, 32)}
    host.denoise(torch.randn(1, 4, 16, 16), torch.tensor([300]), conditions).sum().backward()
    for parameter in (learner.parameters["unet.conv_in.delta_out"], learner.parameters["unet.conv_in.delta_in"]):
        assert [bool(row.abs().sum()) for row in parameter.grad] == [False, True, False, False]


def test_a_concept_holds_scales_alone(pipe, learned):
    concept = learned(pipe, "ryu-tuneqdm", experts=2)
    assert all(key.endswith(("delta_out", "delta_in")) and len(v) == 2 for key, v in concept.tensors_of(0).items())
    assert sum(v.numel() for v in concept.tensors.values()) < 0.1 * sum(p.numel() for p in pipe.unet.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda pipe: spaces.QuantisedScales(bits=9), "2 to 8 bits"),
        (
            lambda pipe: spaces.QuantisedScales().layers({"unet.a.delta_out": torch.ones(2, 3)}),
            r"expected \[4, channels\]",
        ),
        (
            lambda pipe: spaces.QuantisedScales(experts=1).attach(
                of(pipe), {"unet.conv_in.delta_out": torch.ones(1, 3)}, spaces.Grip(key=())
            ),
            "layer unet.conv_in: .*scales for 3 x 4",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message, pipe):
    with pytest.raises(PersonaError, match=message):
        make(pipe)
