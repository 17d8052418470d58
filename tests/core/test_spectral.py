"""Spectral shifts: the equation of SVDiff, and how shifts of several concepts add up."""

import pytest
import torch

from diffusers_persona import spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional.spectral import shifted, spectrum


@pytest.mark.evidence(level="parity", recipe="svdiff")
def test_a_shift_moves_singular_values_and_stops_at_zero():
    """SVDiff, section 3.1: W' = U diag(relu(s + d)) V^T."""
    weight = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    moved = weight + shifted(weight, spectrum(weight), torch.tensor([0.5, -1.0, -4.0]))
    assert torch.allclose(moved, torch.diag(torch.tensor([3.5, 1.0, 0.0])), atol=1e-6)


@pytest.mark.evidence(level="parity", recipe="svdiff")
def test_a_vector_has_its_norm_as_the_one_singular_value():
    weight = torch.tensor([3.0, 4.0])
    assert torch.allclose(shifted(weight, spectrum(weight), torch.tensor([5.0])), weight, atol=1e-6)


def test_all_matrices_kernels_and_norms_are_shifted(pipe):
    host, subject = of(pipe).private_clone(), spaces.Subject(token="sks", noun="dog")
    found = [
        k for space in (spaces.Spectral(), spaces.SpectralVectors()) for k in space.prepare(host, subject).parameters
    ]
    weights = {
        f"unet.{n.removesuffix('.weight')}.delta" for n, _ in pipe.unet.named_parameters() if n.endswith("weight")
    }
    assert set(found) == weights and len(found) == len(weights)


@pytest.mark.evidence(level="parity", recipe="svdiff")
def test_shifts_of_two_concepts_add_up(pipe):
    """SVDiff, section 3.2: the combination of two concepts is the sum of their shifts, while no value is at zero."""
    host, first, second = of(pipe), torch.full((32,), 0.01), torch.full((32,), 0.02)
    grips = []
    for number, shift in enumerate((first, second)):
        grips.append(spaces.Grip(key=(number,)))
        spaces.Spectral().attach(host, {"unet.conv_in.delta": shift}, grips[-1])
    together = pipe.unet.conv_in.weight.detach().clone()
    for grip in grips:
        grip.release()
    stock = pipe.unet.conv_in.weight.detach()
    assert torch.allclose(together, stock + shifted(stock, spectrum(stock), first + second), atol=1e-5)


def test_in_learning_the_clone_computes_with_what_is_attached_later(pipe):
    host = of(pipe).private_clone()
    learner = spaces.Spectral().prepare(host, spaces.Subject(token="sks", noun="dog"))
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter.add_(0.05)
    arguments = torch.randn(1, 4, 16, 16), torch.tensor([10]), {"encoder_hidden_states": torch.randn(1, 77, 32)}
    in_learning, grip = host.denoise(*arguments), spaces.Grip(key=())
    spaces.Spectral().attach(of(pipe), learner.tensors(), grip)
    assert torch.allclose(of(pipe).denoise(*arguments), in_learning, atol=1e-4)
    grip.release()
