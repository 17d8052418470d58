"""ZipLoRA: merged weight, the three terms of the objective and their gradients, for one layer."""

import torch.nn.functional as F

from diffusers_persona.functional.merging_columns import column_merge, column_overlap

RECIPE = "ziplora"


def run(case, config, t):
    """Layer outputs stand in for the denoiser's predictions, as in the case."""
    first, second = t["weights/weight_1"], t["weights/weight_2"]
    columns = [t[f"weights/merger_{n}"].clone().requires_grad_(True) for n in (1, 2)]
    merged = column_merge(first, second, *columns)
    y = F.linear(t["x"], merged)
    losses = [F.mse_loss(y, F.linear(t["x"], own)) for own in (first, second)]
    losses.append(config["similarity_lambda"] * column_overlap(*columns))
    sum(losses).backward()
    found = {"merged_weight": merged, "y": y} | {f"loss_{n}": loss for n, loss in enumerate(losses, 1)}
    return {k: v.detach() for k, v in found.items()} | {f"grad_merger_{n}": c.grad for n, c in enumerate(columns, 1)}
