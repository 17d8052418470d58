"""Layers of mkshing/svdiff-pytorch with shifted singular values: their outputs with our folded weights."""

from torch.nn import functional as F

from diffusers_persona.functional.spectral import shifted, spectrum

RECIPE = "svdiff"


def run(case, config, t):
    def weight(layer):
        stock = t[f"weights/{layer}.weight"]
        return stock + shifted(stock, spectrum(stock), config["scale"] * t[f"weights/{layer}.delta"])

    return {
        "lin": F.linear(t["x"], weight("lin"), t["weights/lin.bias"]),
        "conv": F.conv2d(t["img"], weight("conv"), t["weights/conv.bias"], padding=1),
        "emb": F.embedding(t["ids"], weight("emb")),
        "ln": F.layer_norm(t["x"], (config["layernorm"],), weight("ln"), t["weights/ln.bias"]),
    }
