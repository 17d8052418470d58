"""NeTI: the mapper, the text encoder with the textual bypass, the attention with keys and values apart."""

import torch
from diffusers.models.attention_processor import Attention
from transformers import CLIPTextConfig, CLIPTextModel

from diffusers_persona.functional import space_time
from diffusers_persona.spaces.late_hooks import SplitValues, register

RECIPE = "neti"


def run(case, config, t):
    return {"a-mapper": mapper, "a-text-encoder-bypass": text_encoder, "a-xti-attn": attention}[case["case"]](
        config, t
    )


def _vectors(weights, timesteps, layers, norm, keep=None):
    encoded = space_time.positions_encoded(weights["encoder.w"], timesteps, layers)
    x = space_time.hidden(weights, encoded)
    x = x if keep is None else space_time.truncated(x, torch.full((len(x),), keep))
    return space_time.mapped(weights, x, norm)


def _under(t, prefix):
    return {key.removeprefix(prefix): value for key, value in t.items() if key.startswith(prefix)}


def mapper(config, t):
    weights = _under(t, "weights/")
    return {
        "embedding": _vectors(weights, t["timestep"], t["unet_layer"], config["norm_scale"], config["truncation_idx"])
    }


@torch.no_grad()
def text_encoder(config, t):
    weights, ids, size = _under(t, "weights/"), t["input_ids"], config["text config"]
    encoder = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=size["hidden_size"],
            intermediate_size=size["intermediate_size"],
            num_hidden_layers=size["layers"],
            num_attention_heads=size["heads"],
            vocab_size=size["vocab_size"],
            max_position_embeddings=size["max_position_embeddings"],
            hidden_act=size["hidden_act"],
        )
    ).eval()
    encoder.load_state_dict({k: v for k, v in weights.items() if "mapper" not in k and "position_ids" not in k})
    rows = _vectors(_under(weights, "embeddings.mapper."), t["timesteps"], t["unet_layers"], config["norm_scale"])
    words, bypass = rows.chunk(2, dim=1)
    here = (ids == config["placeholder_token_id"])[..., None]
    embedded = torch.where(here, words[:, None], encoder.embeddings.token_embedding(ids))
    encoder.embeddings.token_embedding.forward = lambda _: embedded
    output = encoder(ids, output_hidden_states=True)
    raw = output.hidden_states[-1]
    raw = torch.where(here, space_time.bypassed(raw, 0.2 * torch.nn.functional.normalize(bypass, dim=1)), raw)
    return {"last_hidden_state": output[0], "last_hidden_state_bypass": encoder.final_layer_norm(raw)}


def attention(config, t):
    size = config["attention"]
    block = torch.nn.Module()
    block.attn2 = Attention(**size)
    block.attn2.load_state_dict(_under(t, "weights/attn."))
    block.forward = lambda hidden, mask, text: block.attn2(hidden, encoder_hidden_states=text)
    register(block, SplitValues())
    text = t["context"].clone()
    vars(text)["_persona_values"] = t["context_bypass"]
    return {
        "hidden_states": block(t["hidden_states"], None, text),
        "next_idx": torch.tensor([(config["this_idx"] + 1) % 16]),
    }  # our layers have numbers, not a counter
