"""Every spelling of a layer ends in diffusers' name for it."""

import pytest

from diffusers_persona.formats import bfl, ldm, lora_keys
from diffusers_persona.formats.names import spellings
from diffusers_persona.testing import tiny_pipeline

BLOCK = "down_blocks.0.attentions.1.transformer_blocks.0"
FLAT = "down_blocks_0_attentions_1_transformer_blocks_0"
TEXT = "text_model.encoder.layers.0"

SPELT = {
    f"unet.{BLOCK}.attn1.to_q.lora_A.weight": (f"unet.{BLOCK}.attn1.to_q", "lora_A.weight"),
    f"unet.{BLOCK}.attn1.to_out.0.lora_B.default.weight": (f"unet.{BLOCK}.attn1.to_out.0", "lora_B.weight"),
    f"unet.{BLOCK}.attn1.processor.to_out_lora.down.weight": (f"unet.{BLOCK}.attn1.to_out.0", "lora_A.weight"),
    f"{BLOCK}.attn2.processor.to_k_lora.up.weight": (f"unet.{BLOCK}.attn2.to_k", "lora_B.weight"),
    f"unet.{BLOCK}.ff.net.0.proj.lora.down.weight": (f"unet.{BLOCK}.ff.net.0.proj", "lora_A.weight"),
    f"unet.{BLOCK}.attn1.to_q.lora_magnitude_vector": (f"unet.{BLOCK}.attn1.to_q", "lora_magnitude_vector"),
    f"base_model.model.{BLOCK}.attn1.to_v.lora_A.weight": (f"unet.{BLOCK}.attn1.to_v", "lora_A.weight"),
    f"unet.base_model.model.{BLOCK}.attn1.to_v.lora_A.weight": (f"unet.{BLOCK}.attn1.to_v", "lora_A.weight"),
    f"module.unet.{BLOCK}.attn1.to_v.lora.up.weight": (f"unet.{BLOCK}.attn1.to_v", "lora_B.weight"),
    f"lora_unet_{FLAT}_attn1_to_out_0.alpha": (f"unet.{BLOCK}.attn1.to_out.0", "alpha"),
    f"lora_unet_{FLAT}_ff_net_2.lora_down.weight": (f"unet.{BLOCK}.ff.net.2", "lora_A.weight"),
    f"state_dict.lora_unet_{FLAT}_ff_net_2.lora_down.weight": (f"unet.{BLOCK}.ff.net.2", "lora_A.weight"),
    f"lycoris_{FLAT}_attn1_to_q.hada_w1_a": (f"unet.{BLOCK}.attn1.to_q", "hada_w1_a"),
    "lora_unet_down_blocks_0_resnets_0_time_emb_proj.lokr_w2_b": (
        "unet.down_blocks.0.resnets.0.time_emb_proj",
        "lokr_w2_b",
    ),
    "lora_unet_down_blocks_0_downsamplers_0_conv.lora_mid.weight": (
        "unet.down_blocks.0.downsamplers.0.conv",
        "lora_mid.weight",
    ),
    "lora_unet_time_embedding_linear_1.dora_scale": ("unet.time_embedding.linear_1", "dora_scale"),
    "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_up.weight": (
        "unet.input_blocks.1.1.transformer_blocks.0.attn1.to_q",
        "lora_B.weight",
    ),
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha": (f"text_encoder.{TEXT}.self_attn.q_proj", "alpha"),
    "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha": (f"text_encoder.{TEXT}.mlp.fc1", "alpha"),
    "lora_te2_text_model_encoder_layers_0_mlp_fc2.alpha": (f"text_encoder_2.{TEXT}.mlp.fc2", "alpha"),
    f"text_encoder.{TEXT}.self_attn.to_out_lora.down.weight": (
        f"text_encoder.{TEXT}.self_attn.out_proj",
        "lora_A.weight",
    ),
    f"text_encoder_2.{TEXT}.self_attn.k_proj.lora_linear_layer.up.weight": (
        f"text_encoder_2.{TEXT}.self_attn.k_proj",
        "lora_B.weight",
    ),
    f"base_model.model.{TEXT}.self_attn.q_proj.lora_A.weight": (
        f"text_encoder.{TEXT}.self_attn.q_proj",
        "lora_A.weight",
    ),
    "transformer.single_transformer_blocks.7.proj_mlp.lora_A.weight": (
        "transformer.single_transformer_blocks.7.proj_mlp",
        "lora_A.weight",
    ),
    "lora_transformer_transformer_blocks_3_attn_to_q.alpha": ("transformer.transformer_blocks.3.attn.to_q", "alpha"),
    "diffusion_model.double_blocks.2.img_mlp.0.lora_A.weight": (
        "transformer.transformer_blocks.2.ff.net.0.proj",
        "lora_A.weight",
    ),
}


@pytest.mark.parametrize("key", SPELT)
def test_a_key_says_its_layer_and_its_part(key):
    layer, part = lora_keys.split(key)
    assert (*lora_keys.resolve(layer), part) == SPELT[key]


@pytest.mark.parametrize("key", ["unet.conv_in.weight", "string_to_param.*", "alpha", "image_proj.proj.weight"])
def test_a_key_of_no_adapter_says_nothing(key):
    assert lora_keys.split(key) is None


def test_a_fused_layer_of_flux_is_several_layers_of_diffusers():
    assert lora_keys.resolve("lora_unet_double_blocks_4_txt_attn_qkv") == tuple(
        f"transformer.transformer_blocks.4.attn.add_{x}_proj" for x in "qkv"
    )
    assert lora_keys.resolve("lora_unet_single_blocks_9_linear1")[-1] == (
        "transformer.single_transformer_blocks.9.proj_mlp"
    )


@pytest.mark.parametrize(
    "inner", ["transformer_blocks.3.attn.to_k", "single_transformer_blocks.1.proj_out", "proj_out"]
)
def test_flux_names_go_there_and_back(inner):
    name, place = bfl.from_diffusers(inner)
    assert bfl.to_diffusers(name)[place] == inner


RELEASED = {
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k": "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
    "input_blocks.8.1.proj_in": "down_blocks.2.attentions.1.proj_in",
    "input_blocks.3.0.op": "down_blocks.0.downsamplers.0.conv",
    "input_blocks.4.0.in_layers.2": "down_blocks.1.resnets.0.conv1",
    "input_blocks.4.0.emb_layers.1": "down_blocks.1.resnets.0.time_emb_proj",
    "input_blocks.4.0.skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
    "middle_block.1.proj_out": "mid_block.attentions.0.proj_out",
    "middle_block.2.out_layers.3": "mid_block.resnets.1.conv2",
    "output_blocks.2.1.conv": "up_blocks.0.upsamplers.0.conv",
    "output_blocks.5.2.conv": "up_blocks.1.upsamplers.0.conv",
    "output_blocks.11.1.transformer_blocks.0.attn1.to_q": "up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_q",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "input_blocks.0.0": "conv_in",
    "out.2": "conv_out",
}


@pytest.mark.parametrize("name", RELEASED)
def test_original_names_of_the_released_unets(name):
    assert ldm.to_diffusers(name) == RELEASED[name]


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_the_map_of_original_names_follows_the_unet(family):
    """Every attention layer has an original name, and the host finds the layer by it, whatever its depth."""
    unet = tiny_pipeline(family).unet
    levels, count = len(unet.config.down_block_types), unet.config.layers_per_block
    names = [name for name, _ in unet.named_modules() if name.endswith("attn2.to_k")]
    for name in names:
        original = ldm.from_diffusers(name, count, levels)
        assert ldm.is_ldm(original)
        assert ldm.of_config(original, unet.config) == name
        assert name in list(spellings(original, unet))


def test_a_host_finds_a_layer_that_differs_only_in_dots_and_underscores():
    unet = tiny_pipeline("sd").unet
    assert "mid_block.attentions.0.proj_in" in list(spellings("mid.block_attentions.0_proj.in", unet))
