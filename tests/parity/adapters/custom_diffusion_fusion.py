"""Kumari et al., arXiv 2212.04488: the constrained merge."""

from diffusers_persona.functional.merging import constrained_merge

RECIPE = "custom-diffusion"


def run(case, config, t):
    return {"W_new": constrained_merge(t["W"], t["K"], t["K_target"], t["V_target"])}
