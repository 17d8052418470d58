"""LoRA files off the beaten track: ranks and alphas by layer, mixed types, odd prefixes, missing parts, one model."""

import json
import math

import numpy as np
import pytest
import torch
from factors import draw, factors, flat, layers, pipe_of, product, weights
from safetensors.torch import save_file

from diffusers_persona import Concept, PersonaError
from diffusers_persona.formats import ldm


def names_of(pipe, *endings):
    return layers(pipe.unet, endings or ("attn1.to_q", "attn2.to_k", "attn2.to_v"))


def saved(tmp_path, content, metadata=None, name="odd.safetensors"):
    save_file({key: value.contiguous() for key, value in content.items()}, tmp_path / name, metadata=metadata)
    return tmp_path / name


def expect(pipe, concept, expected, component="unet", tolerance=1e-5):
    found = weights(pipe, concept, component, list(expected))
    for name, change in expected.items():
        assert torch.allclose(found[name], change.reshape(found[name].shape), atol=tolerance), name


def test_each_layer_has_its_own_rank_alpha_and_type(tmp_path):
    """A layer without alpha has alpha = rank, whatever the others have."""
    pipe, content, expected = pipe_of("sd"), {}, {}
    types = (torch.float32, torch.float16, torch.bfloat16)
    alphas = (None, 1.0, 6.0)
    for n, name in enumerate(names_of(pipe)):
        rank, alpha, key = n % 5 + 1, alphas[n % 3], f"lora_unet_{flat(name)}"
        down, up = factors(pipe.unet, name, rank, types[n % 3])
        content |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up.to(types[(n + 1) % 3])}
        if alpha is not None:
            content[f"{key}.alpha"] = torch.tensor(alpha, dtype=types[n % 2])
        expected[name] = (alpha or rank) / rank * product(down, content[f"{key}.lora_up.weight"])
    concept = Concept.from_file(saved(tmp_path, content))
    expect(pipe, concept, expected)
    for to in ("kohya", "diffusers"):
        (file,) = concept.export(to, tmp_path / f"{to}.safetensors")
        expect(pipe, Concept.from_file(file), expected)
    concept.save_pretrained(tmp_path / "concept")
    expect(pipe, Concept.from_pretrained(tmp_path / "concept"), expected)


def test_stock_diffusers_reads_ranks_and_alphas_by_layer_from_our_file(tmp_path):
    pipe, content = pipe_of("sd"), {}
    for n, name in enumerate(names_of(pipe)):
        down, up = factors(pipe.unet, name, n % 3 + 1)
        key = f"lora_unet_{flat(name)}"
        content |= {
            f"{key}.lora_down.weight": down,
            f"{key}.lora_up.weight": up,
            f"{key}.alpha": torch.tensor(n + 1.0),
        }
    concept = Concept.from_file(saved(tmp_path, content))
    with concept.attach(pipe):
        ours = draw(pipe)
    (file,) = concept.export("diffusers", tmp_path / "stock.safetensors")
    pipe.load_lora_weights(str(file))
    stock = draw(pipe)
    pipe.unload_lora_weights()
    assert np.abs(stock - ours).max() < 1e-4


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("prefix", ["lora_unet_", "model.diffusion_model.", "diffusion_model."])
def test_original_unet_names_are_found_in_the_host(family, prefix, tmp_path):
    pipe, content, expected = pipe_of(family), {}, {}
    shape = (pipe.unet.config.layers_per_block, len(pipe.unet.config.down_block_types))
    for name in names_of(pipe):
        original, (down, up) = ldm.from_diffusers(name, *shape), factors(pipe.unet, name)
        assert original != name
        if prefix.endswith("_"):
            key = prefix + flat(original)
            content |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        else:
            content |= {f"{prefix}{original}.lora_A.weight": down, f"{prefix}{original}.lora_B.weight": up}
        expected[name] = product(down, up)
    path = saved(tmp_path, content)
    expect(pipe, Concept.from_file(path), expected)
    assert all("blocks." in key for key in Concept.from_file(path, base=pipe).tensors_of(0))
    assert not any("_blocks." in key and ".1.1." in key for key in Concept.from_file(path, base=pipe).tensors_of(0))


def test_original_convolution_names_are_found_in_the_host(tmp_path):
    pipe = pipe_of("sd")
    named = {
        "input_blocks_1_0_in_layers_2": "down_blocks.0.resnets.0.conv1",
        "input_blocks_1_0_emb_layers_1": "down_blocks.0.resnets.0.time_emb_proj",
        "input_blocks_2_0_op": "down_blocks.0.downsamplers.0.conv",
        "middle_block_0_out_layers_3": "mid_block.resnets.0.conv2",
        "output_blocks_1_1_conv": "up_blocks.0.upsamplers.0.conv",
        "time_embed_0": "time_embedding.linear_1",
        "input_blocks_0_0": "conv_in",
        "out_2": "conv_out",
    }
    content, expected = {}, {}
    for original, name in named.items():
        down, up = factors(pipe.unet, name, 2)
        content |= {f"lora_unet_{original}.lora_down.weight": down, f"lora_unet_{original}.lora_up.weight": up}
        expected[name] = product(down, up)
    expect(pipe, Concept.from_file(saved(tmp_path, content)), expected, tolerance=1e-4)


def test_the_split_kernel_of_locon_is_one_convolution_after_another(tmp_path):
    pipe, name = pipe_of("sd"), "down_blocks.0.resnets.0.conv1"
    weight = pipe.unet.get_submodule(name).weight
    down, mid, up = torch.randn(2, weight.shape[1], 1, 1), torch.randn(3, 2, 3, 3), torch.randn(len(weight), 3, 1, 1)
    key = f"lora_unet_{flat(name)}"
    content = {f"{key}.lora_down.weight": down, f"{key}.lora_mid.weight": mid, f"{key}.lora_up.weight": up}
    concept = Concept.from_file(saved(tmp_path, content))
    change = weights(pipe, concept, "unet", [name])[name]
    x = torch.randn(1, weight.shape[1], 8, 8)
    conv = torch.nn.functional.conv2d
    assert torch.allclose(conv(x, change, padding=1), conv(conv(conv(x, down), mid, padding=1), up), atol=1e-3)


def test_linear_layers_written_as_convolutions_and_the_other_way_round(tmp_path):
    pipe, content, expected = pipe_of("sd"), {}, {}
    linear, convolution = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.attentions.0.proj_in"
    for name, shape in ((linear, (1, 1)), (convolution, ())):
        down, up = factors(pipe.unet, name)
        key = f"lora_unet_{flat(name)}"
        content |= {
            f"{key}.lora_down.weight": down.reshape(*down.shape[:2], *shape),
            f"{key}.lora_up.weight": up.reshape(*up.shape[:2], *shape),
        }
        expected[name] = product(down, up)
    expect(pipe, Concept.from_file(saved(tmp_path, content)), expected)


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_magnitudes_of_kohya_files(axis, tmp_path):
    """dora_scale [out, 1] scales the rows of W + B A to these lengths, [1, in] the columns."""
    pipe, content, expected = pipe_of("sd"), {}, {}
    for name in (*names_of(pipe), "down_blocks.0.resnets.0.conv1"):
        stock = pipe.unet.get_submodule(name).weight.detach()
        down, up = factors(pipe.unet, name)
        key, kept = f"lora_unet_{flat(name)}", 0 if axis == "rows" else 1
        scale = torch.rand([n if i == kept else 1 for i, n in enumerate(stock.shape)]) + 0.5
        content |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.dora_scale": scale}
        moved = stock + product(down, up)
        length = torch.linalg.vector_norm(moved, dim=[i for i in range(moved.ndim) if i != kept], keepdim=True)
        expected[name] = scale * moved / length - stock
    concept = Concept.from_file(saved(tmp_path, content))
    expect(pipe, concept, expected)
    (file,) = concept.export("kohya", tmp_path / "again.safetensors")
    expect(pipe, Concept.from_file(file), expected)


@pytest.mark.parametrize("place", ["metadata", "folder"])
def test_rank_stabilised_scaling_and_alphas_stated_beside_the_tensors(place, tmp_path):
    pipe, names = pipe_of("sd"), names_of(pipe_of("sd"))
    numbers = {"r": 4, "lora_alpha": 2.0, "use_rslora": True, "alpha_pattern": {f"^{names[0]}": 8.0}}
    prefix = "unet." if place == "metadata" else "base_model.model."
    content, expected = {}, {}
    for name in names:
        down, up = factors(pipe.unet, name)
        content |= {f"{prefix}{name}.lora_A.weight": down, f"{prefix}{name}.lora_B.weight": up}
        expected[name] = (8.0 if name == names[0] else 2.0) / math.sqrt(4) * product(down, up)
    if place == "metadata":
        metadata = {"lora_adapter_metadata": json.dumps({f"unet.{name}": value for name, value in numbers.items()})}
        path = saved(tmp_path, content, metadata)
    else:
        (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **numbers}))
        path = saved(tmp_path, content, name="adapter_model.safetensors").parent
    expect(pipe, Concept.from_file(path), expected)


def test_a_file_of_the_text_encoder_alone(tmp_path):
    pipe, content, expected = pipe_of("sd"), {}, {}
    for name in layers(pipe.text_encoder, ("q_proj", "fc2")):
        down, up = factors(pipe.text_encoder, name)
        key = f"lora_te_text_model_{flat(name)}"
        content |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(1)}
        expected[name] = product(down, up) / 4
    concept = Concept.from_file(saved(tmp_path, content))
    expect(pipe, concept, expected, "text_encoder")
    assert concept.spaces[0].text_encoders


def test_pickled_files_and_alphas_that_are_plain_numbers(tmp_path):
    pipe, name = pipe_of("sd"), names_of(pipe_of("sd"))[0]
    down, up = factors(pipe.unet, name)
    key = f"lora_unet_{flat(name)}"
    torch.save(
        {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": 2.0}, tmp_path / "old.pt"
    )
    expect(pipe, Concept.from_file(tmp_path / "old.pt"), {name: product(down, up) / 2})


def test_the_report_names_what_was_not_used_and_what_lacks(tmp_path):
    pipe, (first, second, *_) = pipe_of("sd"), names_of(pipe_of("sd"))
    content = {}
    for name in (first, second):
        down, up = factors(pipe.unet, name)
        content |= {f"lora_unet_{flat(name)}.lora_down.weight": down, f"lora_unet_{flat(name)}.lora_up.weight": up}
    del content[f"lora_unet_{flat(second)}.lora_up.weight"]
    content["something.else"] = torch.ones(3)
    with pytest.warns(UserWarning, match="2 unused, 1 missing"):
        report = Concept.from_file(saved(tmp_path, content)).report
    assert sorted(report.matched) == sorted(key for key in content if flat(first) in key)
    assert set(report.unused) == {"something.else", f"lora_unet_{flat(second)}.lora_down.weight"}
    assert report.missing == (f"lora_unet_{flat(second)}.lora_B.weight",)


BROKEN = {
    "no whole layer": {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.ones(2, 4)},
    "ranks that differ": {
        "unet.conv_in.lora_A.weight": torch.ones(2, 4, 3, 3),
        "unet.conv_in.lora_B.weight": torch.ones(32, 3, 1, 1),
    },
    "one layer twice": {
        key: torch.ones(2, 2)
        for name in ("unet.mid_block.attentions.0.proj_in", "lora_unet_mid_block_attentions_0_proj_in")
        for key in (f"{name}.lora_down.weight", f"{name}.lora_up.weight")
    },
    "an alpha that is no number": {
        "lora_unet_conv_in.lora_down.weight": torch.ones(2, 4, 3, 3),
        "lora_unet_conv_in.lora_up.weight": torch.ones(32, 2, 1, 1),
        "lora_unet_conv_in.alpha": torch.ones(3),
    },
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_damaged_file_is_refused_in_one_line(damage, tmp_path):
    with pytest.raises(PersonaError) as error:
        Concept.from_file(saved(tmp_path, BROKEN[damage]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("layer", ["down_blocks.7.attentions.0.proj_in", "input_blocks.23.1.proj_in", "nowhere.to_q"])
def test_a_layer_that_the_pipeline_lacks_is_named(layer, tmp_path):
    pipe = pipe_of("sd")
    content = {f"unet.{layer}.lora_A.weight": torch.ones(2, 32), f"unet.{layer}.lora_B.weight": torch.ones(32, 2)}
    with pytest.raises(PersonaError, match=layer), Concept.from_file(saved(tmp_path, content)).attach(pipe):
        pass


def test_magnitudes_that_do_not_fit_leave_no_trace(tmp_path):
    pipe, name = pipe_of("sd"), names_of(pipe_of("sd"))[0]
    down, up = factors(pipe.unet, name)
    key, stock = f"lora_unet_{flat(name)}", pipe.unet.get_submodule(name).weight
    content = {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.dora_scale": torch.ones(7)}
    with pytest.raises(PersonaError, match=name):
        Concept.from_file(saved(tmp_path, content)).attach(pipe)
    assert pipe.unet.get_submodule(name).weight is stock and not hasattr(pipe.unet.get_submodule(name), "_persona")


def test_a_layer_of_another_width_is_named(tmp_path):
    name = "mid_block.attentions.0.proj_in"
    content = {f"unet.{name}.lora_A.weight": torch.ones(2, 320), f"unet.{name}.lora_B.weight": torch.ones(320, 2)}
    with pytest.raises(PersonaError, match=name), Concept.from_file(saved(tmp_path, content)).attach(pipe_of("sd")):
        pass


def test_a_file_for_sdxl_is_refused_by_an_sd_pipeline(tmp_path):
    name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    content = {f"{name}.lora_A.weight": torch.ones(2, 2048), f"{name}.lora_B.weight": torch.ones(640, 2)}
    concept = Concept.from_file(saved(tmp_path, content))
    with pytest.raises(PersonaError, match="sdxl"):
        concept.attach(pipe_of("sd"))
