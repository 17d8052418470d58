"""LoRA.rar: the coefficients that its network reads out of two LoRAs of a query projection, and the merged weight."""

import torch.nn.functional as F

from diffusers_persona.functional.merging_columns import column_merge, predicted_columns

RECIPE = "lora-rar"


def run(case, config, t):
    """The network's weights stand under its official names."""
    prefix = "weights/hyper_nn."
    network = {key.removeprefix(prefix): value for key, value in t.items() if key.startswith(prefix)}
    first, second = t["weights/weight_1"], t["weights/weight_2"]
    columns = predicted_columns(first, second, network)
    merged = column_merge(first, second, *columns)
    outputs = {"merged_weight": merged, "merger_1": columns[0], "merger_2": columns[1]}
    return outputs | {"hidden_states": F.linear(t["hidden_states"], merged)}
