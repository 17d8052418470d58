"""LoHa and LoKr: the equations are PEFT's, the files LyCORIS's, the weights folded; and both can be learned."""

import numpy as np
import pytest
import torch
from factors import draw, flat, pipe_of, weights
from safetensors.torch import load_file, save_file

from diffusers_persona import Concept, PersonaError, spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional.structured import hadamard, kronecker, tucker
from diffusers_persona.spaces import hadamard as hadamard_space
from diffusers_persona.spaces import kronecker as kronecker_space

LINEAR = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
KERNEL = "down_blocks.0.resnets.0.conv1"
ALPHA = 3.0


def peft_layer(space, kernel):
    """A PEFT layer with random factors, the change of its weight, and its factors by name."""
    from peft import inject_adapter_in_model

    layer = torch.nn.Conv2d(6, 8, 3, bias=False) if kernel else torch.nn.Linear(12, 8, bias=False)
    model = torch.nn.Sequential(layer)
    inject_adapter_in_model(space.peft_config(["0"]), model, "x")
    parts = {}
    for name, parameter in model[0].named_parameters():
        if name.endswith(".x"):
            torch.nn.init.normal_(parameter)
            parts[name.removesuffix(".x")] = parameter.detach()
    return model[0].get_delta_weight("x").detach(), parts


@pytest.mark.parametrize("kernel", [False, True], ids=["linear", "kernel"])
@pytest.mark.parametrize("options", [{}, {"effective_kernels": True}, {"alpha": ALPHA}], ids=str)
def test_the_hadamard_product_is_that_of_peft(options, kernel):
    space = spaces.Hadamard(rank=2, targets=("0",), **options)
    expected, parts = peft_layer(space, kernel)
    ours = space.scaling_of(parts) * hadamard_space.product("0", parts)
    assert torch.allclose(ours.reshape(expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("kernel", [False, True], ids=["linear", "kernel"])
@pytest.mark.parametrize(
    "options",
    [{}, {"effective_kernels": True}, {"alpha": ALPHA}, {"decompose_both": True}, {"factor": 2}, {"rank": 16}],
    ids=str,
)
def test_the_kronecker_product_is_that_of_peft(options, kernel):
    space = spaces.Kronecker(**{"rank": 1, "targets": ("0",)} | options)
    expected, parts = peft_layer(space, kernel)
    ours = space.scaling_of(parts) * kronecker_space.product("0", parts)
    assert torch.allclose(ours.reshape(expected.shape), expected, atol=1e-5)


def test_the_equations_on_values_by_hand():
    column, row = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0]])
    assert torch.equal(hadamard((column, row, None), (column, row, None)), torch.tensor([[9.0, 16], [36, 64]]))
    assert torch.equal(
        kronecker(torch.tensor([[1.0, 2]]), torch.tensor([[3.0], [4]])), torch.tensor([[3.0, 6], [4, 8]])
    )
    core = torch.tensor(2.0).reshape(1, 1, 1, 1)
    assert torch.equal(tucker(core, row, column.T)[:, :, 0, 0], 2 * row.T @ column.T)


# -------------------------------------------------------------------------------------------------------------- files


def loha(rows, columns, rank=3):
    return {f"hada_w{n}_{half}": torch.randn(*size) * 0.3 for n in (1, 2) for half, size in sides(rows, columns, rank)}


def sides(rows, columns, rank):
    return (("a", (rows, rank)), ("b", (rank, columns)))


def loha_tucker(rows, columns, rank=3, side=3):
    parts = {f"hada_w{n}_{half}": torch.randn(rank, s) * 0.3 for n in (1, 2) for half, s in zip("ab", (rows, columns))}
    return parts | {f"hada_t{n}": torch.randn(rank, rank, side, side) * 0.3 for n in (1, 2)}


LAYERS = {
    "loha of a linear layer": (LINEAR, lambda out, into: loha(out, into), 3),
    "loha of a kernel": (KERNEL, lambda out, into: loha(out, into * 9), 3),
    "loha of a kernel with cores": (KERNEL, lambda out, into: loha_tucker(out, into), 3),
    "lokr, both whole": (
        LINEAR,
        lambda out, into: {"lokr_w1": torch.randn(4, 4), "lokr_w2": torch.randn(out // 4, into // 4)},
        None,
    ),
    "lokr, the second low": (
        LINEAR,
        lambda out, into: {
            "lokr_w1": torch.randn(4, 4),
            "lokr_w2_a": torch.randn(out // 4, 2),
            "lokr_w2_b": torch.randn(2, into // 4),
        },
        2,
    ),
    "lokr, both low": (
        LINEAR,
        lambda out, into: {
            "lokr_w1_a": torch.randn(4, 2),
            "lokr_w1_b": torch.randn(2, 4),
            "lokr_w2_a": torch.randn(out // 4, 2),
            "lokr_w2_b": torch.randn(2, into // 4),
        },
        2,
    ),
    "lokr of a kernel": (
        KERNEL,
        lambda out, into: {"lokr_w1": torch.randn(2, 2), "lokr_w2": torch.randn(out // 2, into // 2, 3, 3)},
        None,
    ),
    "lokr of a kernel with a core": (
        KERNEL,
        lambda out, into: {
            "lokr_w1": torch.randn(2, 2),
            "lokr_w2_a": torch.randn(2, out // 2),
            "lokr_w2_b": torch.randn(2, into // 2),
            "lokr_t2": torch.randn(2, 2, 3, 3),
        },
        2,
    ),
}


def by_the_formula(parts):
    """The change by einsum and kron alone."""
    p = {name.removeprefix("hada_").removeprefix("lokr_"): value for name, value in parts.items()}

    def low(n):
        if f"t{n}" in p:
            return torch.einsum("rshw,ro,si->oihw", p[f"t{n}"], p[f"w{n}_a"], p[f"w{n}_b"])
        return p[f"w{n}"] if f"w{n}" in p else p[f"w{n}_a"] @ p[f"w{n}_b"]

    one, other = low(1), low(2)
    if any(name.startswith("hada") for name in parts):
        return one * other
    if other.ndim == 4:
        return torch.stack([torch.kron(one, other[:, :, h, w]) for h in range(3) for w in range(3)], dim=-1).reshape(
            -1, one.shape[1] * other.shape[1], 3, 3
        )
    return torch.kron(one, other)


def written(tmp_path, case, alpha=None, prefix="lora_unet_"):
    pipe, (name, make, rank) = pipe_of("sd"), LAYERS[case]
    out, into = pipe.unet.get_submodule(name).weight.shape[:2]
    torch.manual_seed(0)
    parts = make(out, into)
    content = {f"{prefix}{flat(name)}.{part}": value for part, value in parts.items()}
    if alpha is not None:
        content[f"{prefix}{flat(name)}.alpha"] = torch.tensor(alpha)
    save_file(content, tmp_path / "lycoris.safetensors")
    scaling = 1.0 if alpha is None or rank is None else alpha / rank
    return pipe, name, tmp_path / "lycoris.safetensors", scaling * by_the_formula(parts)


@pytest.mark.parametrize("alpha", [None, ALPHA])
@pytest.mark.parametrize("case", LAYERS)
def test_a_file_folds_to_its_product(case, alpha, tmp_path):
    pipe, name, path, expected = written(tmp_path, case, alpha)
    concept = Concept.from_file(path)
    assert not concept.report.unused and not concept.report.missing
    change = weights(pipe, concept, "unet", [name])[name]
    assert torch.allclose(change, expected.reshape(change.shape), atol=1e-5)


@pytest.mark.parametrize("case", LAYERS)
def test_a_file_is_written_back_in_its_layout(case, tmp_path):
    pipe, name, path, expected = written(tmp_path, case, ALPHA, prefix="lycoris_")
    (file,) = Concept.from_file(path).export("lycoris", tmp_path / "again.safetensors")
    before, after = load_file(path), load_file(file)
    renamed = {key.replace("lycoris_", "lora_unet_"): value for key, value in before.items()}
    whole = not any(part.endswith(("_a", "_b")) for part in renamed)
    assert set(after) == {key for key in renamed if not (whole and key.endswith("alpha"))}
    assert all(torch.equal(value, renamed[key]) for key, value in after.items() if not key.endswith("alpha"))
    change = weights(pipe, Concept.from_file(file), "unet", [name])[name]
    assert torch.allclose(change, expected.reshape(change.shape), atol=1e-5)


def test_one_file_may_hold_lora_loha_and_lokr(tmp_path):
    """LyCORIS trains linear layers and kernels by different algorithms into one file."""
    pipe, name, path, expected = written(tmp_path, "loha of a linear layer", ALPHA)
    content, other = load_file(path), "mid_block.attentions.0.transformer_blocks.0.attn1.to_k"
    width = pipe.unet.get_submodule(other).weight.shape[0]
    key = f"lora_unet_{flat(other)}"
    content |= {f"{key}.lora_down.weight": torch.ones(2, width), f"{key}.lora_up.weight": torch.ones(width, 2)}
    save_file(content, path)
    concept = Concept.from_file(path)
    assert sorted(space.kind for space in concept.spaces) == ["hadamard", "low_rank"]
    change = weights(pipe, concept, "unet", [name, other])
    assert torch.allclose(change[name], expected, atol=1e-5) and torch.allclose(
        change[other], torch.full((width, width), 2.0), atol=1e-5
    )
    assert len(concept.export("kohya", tmp_path / "apart")) == 2


def test_magnitudes_of_lycoris_files(tmp_path):
    pipe, name, path, change = written(tmp_path, "lokr, the second low")
    stock = pipe.unet.get_submodule(name).weight.detach()
    scale = torch.rand(1, stock.shape[1]) + 0.5
    save_file(load_file(path) | {f"lora_unet_{flat(name)}.dora_scale": scale}, path)
    moved = stock + change
    expected = scale * moved / moved.norm(dim=0, keepdim=True) - stock
    assert torch.allclose(weights(pipe, Concept.from_file(path), "unet", [name])[name], expected, atol=1e-5)


@pytest.mark.parametrize("case", ["loha of a linear layer", "lokr, the second low"])
def test_factors_that_do_not_fit_each_other_are_refused_by_layer(case, tmp_path):
    pipe, name, path, _ = written(tmp_path, case)
    content = load_file(path)
    key = next(key for key in content if key.endswith("w2_b"))
    content[key] = content[key][:1].repeat(7, 1)
    save_file(content, path)
    with pytest.raises(PersonaError, match=name):
        Concept.from_file(path).attach(pipe)


def test_a_factor_that_lacks_is_reported(tmp_path):
    _, name, path, _ = written(tmp_path, "loha of a linear layer")
    content = load_file(path)
    del content[f"lora_unet_{flat(name)}.hada_w2_b"]
    save_file(content, path)
    with pytest.raises(PersonaError):
        Concept.from_file(path)


# ----------------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("space", [spaces.Hadamard(rank=2, alpha=4), spaces.Kronecker(rank=2, alpha=4)], ids=repr)
def test_the_space_learns_through_peft_and_folds_to_the_same_picture(space, tmp_path):
    """What the clone computes with its PEFT layers is what the user's pipeline draws with the concept."""
    import dataclasses

    pipe = pipe_of("sd")
    space = dataclasses.replace(space, targets=("to_q", "conv1"), text_encoders=True)
    clone = of(pipe).private_clone()
    learner = space.prepare(clone, spaces.Subject(token="<x>", noun="dog"))
    assert all(parameter.requires_grad for parameter in learner.parameters.values())
    for parameter in learner.parameters.values():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs = draw(clone.pipe)
    header = {"schema_version": 1, "recipe": "none", "token": "<x>", "noun": "dog"}
    header["spaces"] = [{"kind": space.kind, **dataclasses.asdict(space)}]
    tensors = {f"0.{space.kind}.{name}": value for name, value in learner.tensors().items()}
    Concept(header=header, tensors=tensors).save_pretrained(tmp_path)
    with Concept.from_pretrained(tmp_path).attach(pipe):
        ours = draw(pipe)
    assert np.abs(ours - theirs).max() < 1e-4 < np.abs(draw(pipe) - ours).max()
    (file,) = Concept.from_pretrained(tmp_path).export("lycoris", tmp_path / "lycoris.safetensors")
    with Concept.from_file(file).attach(pipe):
        assert np.abs(draw(pipe) - ours).max() < 1e-4
