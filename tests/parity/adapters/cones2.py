"""Cones 2: residuals at the word's positions, and cross-attention with layout guidance."""

import torch

from diffusers_persona.functional.layout import layout_logits

RECIPE = "cones2"


def run(case, config, t):
    """One attention layer, with and without the guidance."""
    heads = config["attention"]["heads"]
    edited = t["cond"].clone()
    edited[:, t["token_pos"]] += t["residual"]
    query, key, value = (
        (states @ t[f"weights/{name}.weight"].T).unflatten(-1, (heads, -1)).transpose(1, 2)
        for name, states in (("to_q", t["hidden_states"]), ("to_k", edited), ("to_v", edited))
    )
    added = layout_logits(query, key, t["weight"][None], t["sigma"][0], config["guidance_weight"])

    def attend(more):
        scale = query.shape[-1] ** -0.5
        mixed = ((query @ key.transpose(-1, -2) + more) * scale).softmax(-1) @ value
        return mixed.transpose(1, 2).flatten(2) @ t["weights/to_out.0.weight"].T + t["weights/to_out.0.bias"]

    return {"out": attend(added), "out_plain": attend(torch.zeros(())), "cond_edited": edited}
