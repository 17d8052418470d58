"""ViCo: a transformer block with image cross-attention, and the mask that Otsu's method makes of an attention map."""

import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel

from diffusers_persona.attention.image_cross import ImageCrossSite, Sight, crossing_like
from diffusers_persona.functional.attention_maps import otsu

RECIPE = "vico"


class Known:
    """Stands for the spotter: the case says where the words are."""

    def __init__(self, places, ends):
        self.places, self.ends = places.tolist(), ends.tolist()

    def find(self, states):
        return list(zip(self.places, self.ends))


class Stack(Transformer2DModel):
    """The transformer alone in the denoiser's place."""

    def forward(self, sample, timestep, encoder_hidden_states, **options):
        return super().forward(sample, encoder_hidden_states=encoder_hidden_states, return_dict=False)[0]


def run(case, config, t):
    """Official names of the stack's weights are those of diffusers."""
    if case["case"] == "a-otsu":
        keep = otsu(t["attn"])
        return {"mask": keep.float(), "keep": keep}
    stack = Stack(
        config["n_heads"], config["d_head"], config["in_channels"], cross_attention_dim=config["context_dim"]
    )
    weights = {key.removeprefix("weights/"): value for key, value in t.items() if key.startswith("weights/")}
    prefix = "image_cross_attention."
    own = {key.removeprefix(prefix): weights.pop(key) for key in list(weights) if key.startswith(prefix)}
    stack.load_state_dict(weights)
    crossing = crossing_like(stack.transformer_blocks[0])
    crossing.load_state_dict(own)
    site = ImageCrossSite.of(stack)
    places = Known(t["ph_pos"], t["eot_pos"])
    site.add((), Sight({"transformer_blocks.0": crossing}, t["xr"], places, lambda: 1.0, learned=False))
    with torch.no_grad():
        crossed = stack(t["x"], 0, t["context"])
        site.looking = site.sights[0][1]
        return {"x": crossed, "xr": stack(t["xr"], 0, t["context"])}
