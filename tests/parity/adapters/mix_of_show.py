"""Mix-of-Show: gradient fusion of one layer."""

from diffusers_persona.functional.merging import quasi_newton_merge

RECIPE = "mix-of-show"


def run(case, config, t):
    """L-BFGS from the stock weight."""
    return {"W_new": quasi_newton_merge(t["W"], t["K_target"], t["V_target"], config["iters"])}
