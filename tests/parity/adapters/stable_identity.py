"""Wang et al., StableIdentity, arXiv 2401.15975: the mapper, and its codes in the statistics of names."""

import torch

from diffusers_persona.encoders.mapper import Mapper
from diffusers_persona.functional.names import in_statistics

RECIPE = "stable-identity"


def mapper(t, prefix, width_in, width_out, depth, gain=0.1):
    """The network with the official weights under `prefix`."""
    weights = {}
    for name, value in t.items():
        if name.startswith(f"weights/{prefix}"):
            parts = name.removeprefix(f"weights/{prefix}").split(".")
            if parts[0] == "norm":
                weights[".".join(parts)] = value
            elif parts[2] == "norm":
                weights[f"norms.{int(parts[1]) - 1}.{parts[3]}"] = value
            else:
                weights[f"layers.{parts[1]}.{parts[2]}"] = value
    network = Mapper(width_in, width_out, depth=depth, gain=gain, normalised=True)
    network.load_state_dict(weights)
    return network.eval()


@torch.no_grad()
def run(case, config, t):
    """The mapper alone, or the words that it makes in the embedded prompt."""
    if "x" in t:
        network = mapper(t, "", config["dim_in"], config["dim_out"], config["depth"], config["lr_mul"])
        return {"y": network(t["x"])}
    width = config["token_dim"]
    network = mapper(t, "face_projection_layer.", config["input width"], 2 * width, config["mlp_depth"])
    words = in_statistics(network(t["code"]).view(-1, 2, width), t["celeb_mean"], t["celeb_std"])
    embedded = t["embedded_text"].clone()
    for row, ids in enumerate(t["tokens"]):
        place = int((ids == 9).nonzero()[0])
        embedded[row, place : place + 2] = words[row]
    return {"embedded_text": embedded}
