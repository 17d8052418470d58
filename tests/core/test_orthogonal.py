"""Orthogonal fine-tuning: the equations of OFT, COFT and BOFT, and what learning in the space keeps."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from diffusers_persona import PersonaError, spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional.orthogonal import butterfly, cayley, drop, project, rotate, skew, triangle
from diffusers_persona.spaces.orthogonal import turned


@pytest.mark.evidence(level="parity", recipe="oft")
def test_cayley_of_a_plane_is_a_rotation():
    """S = [[0, s], [-s, 0]]: (I - S)(I + S)^-1 turns by the angle -2 atan(s)."""
    s = 0.3
    found = cayley(skew(torch.tensor([s])))
    cos, sin = (1 - s * s) / (1 + s * s), 2 * s / (1 + s * s)
    assert torch.allclose(found, torch.tensor([[cos, -sin], [sin, cos]]))
    assert math.isclose(sin, math.sin(2 * math.atan(s)), rel_tol=1e-6)


@given(blocks=some.integers(1, 4), side=some.integers(2, 6), seed=some.integers(0, 99))
def test_blocks_are_orthogonal_and_the_triangle_is_all_that_counts(blocks, side, seed):
    matrix = torch.randn(blocks, side, side, generator=torch.Generator().manual_seed(seed))
    skewed = skew(triangle(matrix))
    assert torch.allclose(skewed, (matrix - matrix.mT) / 2, atol=1e-6)
    q = cayley(skewed)
    assert torch.allclose(q @ q.mT, torch.eye(side).expand_as(q), atol=1e-4)


@pytest.mark.evidence(level="parity", recipe="oft")
def test_oft_rotates_the_inputs_and_keeps_angles_between_neurons():
    """Official code: filt = Q W^T, transposed back. The Gram matrix of the rows, and so their angles, stays."""
    weight, blocks = torch.randn(5, 12), cayley(skew(torch.randn(1, 3, 6)))
    turned = rotate(weight, blocks)
    assert torch.allclose(turned, (torch.block_diag(*blocks[0]) @ weight.T).T, atol=1e-5)
    assert torch.allclose(turned @ turned.T, weight @ weight.T, atol=1e-4)


@pytest.mark.evidence(level="parity", recipe="oft")
def test_a_kernel_is_rotated_as_a_row():
    kernel, parts = torch.randn(1, 4, 2, 3, 3), {"rotation": torch.randn(1, 1, 3, 15)}
    blocks = cayley(skew(parts["rotation"][0]))
    assert torch.allclose(turned(kernel, parts)[0].flatten(1), rotate(kernel[0].flatten(1), blocks))


@pytest.mark.evidence(level="parity", recipe="boft")
def test_the_butterfly_brings_half_blocks_together():
    """Width 8, four blocks of two: at level 1 in each run of four the even halves come first, then the odd ones."""
    row = torch.arange(8)
    assert torch.equal(butterfly(row, 4, 0), row)
    assert butterfly(row, 4, 1).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert butterfly(row, 4, 2).tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert torch.equal(butterfly(butterfly(row, 4, 2), 4, 2, inverse=True), row)


@pytest.mark.evidence(level="parity", recipe="boft")
def test_a_product_of_butterfly_factors_is_orthogonal_and_dense():
    """BOFT, section 4: with log2(r) + 1 factors every output of Q depends on every input."""
    blocks = cayley(skew(torch.randn(3, 4, 1)))
    q = rotate(torch.eye(8), blocks)
    assert torch.allclose(q @ q.T, torch.eye(8), atol=1e-5)
    assert (q.abs() > 1e-7).all() and not (rotate(torch.eye(8), blocks[:2]).abs() > 1e-7).all()


@pytest.mark.evidence(level="parity", recipe="oft")
def test_coft_scales_a_large_r_back_to_the_ball():
    """Official code: R of Frobenius norm over eps' becomes eps' R / |R|; a smaller one stays."""
    large, small = torch.full((1, 3), 2.0), torch.full((1, 3), 0.1)
    assert torch.allclose(project(small, 1.0), small)
    assert torch.isclose(torch.linalg.matrix_norm(skew(project(large, 1.0))), torch.tensor(1.0))


@pytest.mark.evidence(level="parity", recipe="oft")
def test_a_constrained_concept_stays_in_the_ball(pipe, learned):
    concept = learned(pipe, "oft", constraint=1e-4)
    for path, parts in concept.spaces[0].layers(concept.tensors_of(0)).items():
        side = pipe.unet.get_submodule(path.removeprefix("unet.")).in_features // 4
        norms = torch.linalg.matrix_norm(skew(parts["rotation"]))
        assert norms.max() <= 1e-4 * side**2 / 2 + 1e-6 and norms.max() > 0


def test_dropout_makes_blocks_of_one_factor_the_identity():
    torch.manual_seed(0)
    blocks = cayley(skew(torch.ones(5, 2, 4, 3)))
    same = (drop(blocks, 0.5) == torch.eye(3)).flatten(3).all(3).sum(2)
    assert all(sorted(counts) == [0, 2] for counts in same.tolist())
    assert torch.equal(drop(blocks, 0.1), blocks)  # int(0.1 x 4) is none


@pytest.mark.parametrize("recipe", ["oft", "boft"])
def test_in_learning_the_clone_computes_with_what_is_attached_later(recipe, pipe):
    host = of(pipe).private_clone()
    space = spaces.Orthogonal(factors=2 if recipe == "boft" else 1, magnitudes=recipe == "boft")
    learner = space.prepare(host, spaces.Subject(token="sks", noun="dog"))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    noisy, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 32)
    conditions = {"encoder_hidden_states": text}
    in_learning = host.denoise(noisy, torch.tensor([10]), conditions)
    grip = spaces.Grip(key=())
    space.attach(of(pipe), learner.tensors(), grip)
    assert torch.allclose(of(pipe).denoise(noisy, torch.tensor([10]), conditions), in_learning, atol=1e-5)
    grip.release()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda pipe: spaces.Orthogonal(blocks=3, factors=2), r"blocks divide by 2 \*\* \(factors - 1\)"),
        (
            lambda pipe: spaces.Orthogonal(blocks=5).prepare(of(pipe).private_clone(), None),
            "do not divide into 5 blocks",
        ),
        (lambda pipe: spaces.Orthogonal(targets=("to_x",)).prepare(of(pipe).private_clone(), None), "check targets="),
        (lambda pipe: spaces.Orthogonal().layers({"unet.a.rotation": torch.zeros(1, 4, 5)}), "layer unet.a: rotation"),
        (lambda pipe: spaces.Orthogonal().layers({"unet.a.magnitude": torch.ones(4)}), "rotation is missing"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message, pipe):
    with pytest.raises(PersonaError, match=message):
        make(pipe)


def test_a_rotation_of_another_width_names_the_layer(pipe):
    tensors = {"unet.conv_in.rotation": torch.zeros(1, 2, 1)}
    with pytest.raises(PersonaError, match="layer unet.conv_in: .*a rotation of 4 entries on rows of 36"):
        spaces.Orthogonal().attach(of(pipe), tensors, spaces.Grip(key=()))
    assert "_persona" not in pipe.unet.conv_in._modules
