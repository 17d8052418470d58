"""The gated rank-one edit of ChenDarYen's port; there o* has one row for each position of the text."""

from diffusers_persona.functional.rank_one import gated_edit

RECIPE = "perfusion"


def run(case, config, t):
    direction = t["C_inv"] @ t["target_input"]
    edited = gated_edit(
        t["weights/weight"],
        t["input"],
        t["target_input"],
        direction,
        t["weights/target_output"],
        config["beta"],
        config["tau"],
    )
    return {"h": edited}
