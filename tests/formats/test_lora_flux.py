"""FLUX LoRA: layouts are read and converted into each other; attaching waits for a FLUX host."""

import pytest
import torch
from factors import pipe_of, product
from safetensors.torch import load_file, save_file

from diffusers_persona import Concept, PersonaError

WIDTH = 16
BFL = {  # original layer -> rows, columns
    "double_blocks_0_img_attn_qkv": (3 * WIDTH, WIDTH),
    "double_blocks_0_txt_attn_qkv": (3 * WIDTH, WIDTH),
    "double_blocks_1_img_attn_proj": (WIDTH, WIDTH),
    "double_blocks_1_img_mlp_0": (4 * WIDTH, WIDTH),
    "double_blocks_1_txt_mod_lin": (6 * WIDTH, WIDTH),
    "single_blocks_2_linear1": (7 * WIDTH, WIDTH),
    "single_blocks_2_linear2": (WIDTH, 5 * WIDTH),
    "single_blocks_2_modulation_lin": (3 * WIDTH, WIDTH),
}


def kohya(tmp_path, rank=4, alpha=2.0, extra=()):
    content = {}
    for layer, (rows, columns) in {**BFL, **dict(extra)}.items():
        content |= {
            f"lora_unet_{layer}.lora_down.weight": torch.randn(rank, columns),
            f"lora_unet_{layer}.lora_up.weight": torch.randn(rows, rank),
            f"lora_unet_{layer}.alpha": torch.tensor(alpha),
        }
    save_file(content, tmp_path / "flux.safetensors")
    return tmp_path / "flux.safetensors", content


def changes(concept):
    """diffusers layer -> change of its weight."""
    space = concept.spaces[0]
    layers = space.layers(concept.tensors_of(0))
    return {
        path: space.scaling_of(parts) * product(parts["lora_A.weight"], parts["lora_B.weight"])
        for path, parts in layers.items()
    }


def fused(content, layer, alpha=2.0, rank=4):
    key = f"lora_unet_{layer}"
    return alpha / rank * product(content[f"{key}.lora_down.weight"], content[f"{key}.lora_up.weight"])


def test_fused_layers_are_split_by_rows(tmp_path):
    path, content = kohya(tmp_path)
    concept = Concept.from_file(path)
    found = changes(concept)
    assert concept.header["base_model"]["family"] == "flux" and not concept.report.unused
    block = "transformer.transformer_blocks.0.attn"
    image, text = fused(content, "double_blocks_0_img_attn_qkv"), fused(content, "double_blocks_0_txt_attn_qkv")
    single, linear = "transformer.single_transformer_blocks.2", fused(content, "single_blocks_2_linear1")
    for i, x in enumerate("qkv"):
        rows = slice(i * WIDTH, (i + 1) * WIDTH)
        assert torch.allclose(found[f"{block}.to_{x}"], image[rows], atol=1e-5)
        assert torch.allclose(found[f"{block}.add_{x}_proj"], text[rows], atol=1e-5)
        assert torch.allclose(found[f"{single}.attn.to_{x}"], linear[rows], atol=1e-5)
    assert torch.allclose(found[f"{single}.proj_mlp"], linear[3 * WIDTH :], atol=1e-5)
    assert torch.allclose(found[f"{single}.proj_out"], fused(content, "single_blocks_2_linear2"), atol=1e-5)


def test_the_names_are_those_of_the_stock_transformer(tmp_path):
    from diffusers import FluxTransformer2DModel

    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=WIDTH,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(2, 2, 4),
        guidance_embeds=True,
    )
    outside = {
        "img_in": (WIDTH, WIDTH),
        "txt_in": (WIDTH, WIDTH),
        "time_in_in_layer": (WIDTH, 256),
        "vector_in_out_layer": (WIDTH, WIDTH),
        "guidance_in_in_layer": (WIDTH, 256),
        "final_layer_linear": (WIDTH, WIDTH),
        "final_layer_adaLN_modulation_1": (2 * WIDTH, WIDTH),
    }
    path, _ = kohya(tmp_path, extra=outside)
    for layer, change in changes(Concept.from_file(path)).items():
        assert model.get_submodule(layer.removeprefix("transformer.")).weight.shape == change.shape, layer


def test_the_final_modulation_swaps_shift_and_scale(tmp_path):
    path, content = kohya(tmp_path, extra={"final_layer_adaLN_modulation_1": (2 * WIDTH, WIDTH)})
    theirs = fused(content, "final_layer_adaLN_modulation_1")
    ours = changes(Concept.from_file(path))["transformer.norm_out.linear"]
    assert torch.allclose(ours, torch.cat([theirs[WIDTH:], theirs[:WIDTH]]), atol=1e-5)
    (file,) = Concept.from_file(path).export("kohya", tmp_path / "again.safetensors")
    assert torch.allclose(changes(Concept.from_file(file))["transformer.norm_out.linear"], ours, atol=1e-5)


@pytest.mark.parametrize("dotted", [False, True])
def test_layouts_convert_into_each_other(dotted, tmp_path):
    path, content = kohya(tmp_path)
    if dotted:
        from diffusers_persona.formats.lora_keys import unflatten

        renamed = {}
        for key, value in content.items():
            layer, _, part = key.removeprefix("lora_unet_").partition(".")
            renamed[f"diffusion_model.{unflatten(layer)}.{part.replace('down', 'A').replace('up', 'B')}"] = value
        assert "diffusion_model.single_blocks.2.linear1.lora_A.weight" in renamed
        save_file(renamed, path)
    source = Concept.from_file(path)
    (stock,) = source.export("diffusers", tmp_path / "stock.safetensors")
    assert all(key.startswith("transformer.") for key in load_file(stock))
    (again,) = Concept.from_file(stock).export("kohya", tmp_path / "again.safetensors")
    back = load_file(again)
    assert set(back) == set(content)
    for layer in BFL:
        assert torch.allclose(fused(back, layer), fused(content, layer), atol=1e-5)


def test_layers_of_their_own_are_fused_with_their_ranks_side_by_side(tmp_path):
    """Query, key and value learned apart (diffusers) become one layer of the original, with the same change."""
    content = {}
    for n, layer in enumerate(("to_q", "to_k")):
        name = f"transformer.transformer_blocks.0.attn.{layer}"
        content |= {
            f"{name}.lora_A.weight": torch.randn(2 + n, WIDTH),
            f"{name}.lora_B.weight": torch.randn(WIDTH, 2 + n),
        }
    content |= {
        "transformer.single_transformer_blocks.0.proj_mlp.lora_A.weight": torch.randn(2, WIDTH),
        "transformer.single_transformer_blocks.0.proj_mlp.lora_B.weight": torch.randn(4 * WIDTH, 2),
    }
    save_file(content, tmp_path / "stock.safetensors")
    concept = Concept.from_file(tmp_path / "stock.safetensors")
    (file,) = concept.export("kohya", tmp_path / "kohya.safetensors")
    back, ours = changes(Concept.from_file(file)), changes(concept)
    for layer, change in back.items():
        assert torch.allclose(change, ours.get(layer, torch.zeros(())).expand_as(change), atol=1e-5), layer
    ranks = {k: v.shape for k, v in Concept.from_file(file).tensors_of(0).items()}
    assert ranks["transformer.transformer_blocks.0.attn.to_k.lora_A.weight"] == (3, WIDTH)


def test_stock_diffusers_makes_the_same_of_a_kohya_file(tmp_path):
    """The stock converter needs the released width in single blocks; double blocks go by any width."""
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    _, content = kohya(tmp_path)
    content = {key: value for key, value in content.items() if "linear1" not in key}
    save_file(content, tmp_path / "double.safetensors")
    ours = changes(Concept.from_file(tmp_path / "double.safetensors"))
    theirs = _convert_kohya_flux_lora_to_diffusers(dict(content))
    for layer, change in ours.items():
        stock = product(theirs[f"{layer}.lora_A.weight"], theirs[f"{layer}.lora_B.weight"])
        assert torch.allclose(change, stock, atol=1e-5), layer


def test_files_of_xlabs_are_what_stock_diffusers_makes_of_them(tmp_path):
    from diffusers.loaders.lora_conversion_utils import _convert_xlabs_flux_lora_to_diffusers

    content = {}
    for layer, rows in {
        "double_blocks.0.processor.qkv_lora1": 3 * WIDTH,
        "double_blocks.0.processor.qkv_lora2": 3 * WIDTH,
        "double_blocks.0.processor.proj_lora1": WIDTH,
        "double_blocks.0.processor.proj_lora2": WIDTH,
        "single_blocks.1.processor.qkv_lora": 3 * WIDTH,
        "single_blocks.1.processor.proj_lora": WIDTH,
    }.items():
        content |= {f"{layer}.down.weight": torch.randn(4, WIDTH), f"{layer}.up.weight": torch.randn(rows, 4)}
    save_file(content, tmp_path / "xlabs.safetensors")
    concept = Concept.from_file(tmp_path / "xlabs.safetensors")
    theirs, ours = _convert_xlabs_flux_lora_to_diffusers(dict(content)), changes(concept)
    assert not concept.report.unused and {f"{layer}.lora_A.weight" for layer in ours} <= set(theirs)
    for layer, change in ours.items():
        stock = product(theirs[f"{layer}.lora_A.weight"], theirs[f"{layer}.lora_B.weight"])
        assert torch.allclose(change, stock, atol=1e-5), layer


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_attaching_to_another_family_is_refused_by_name(family, tmp_path):
    path, _ = kohya(tmp_path)
    with pytest.raises(PersonaError, match="flux"):
        Concept.from_file(path).attach(pipe_of(family))
