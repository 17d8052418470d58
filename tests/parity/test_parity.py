"""Golden tensors of official code: each case folder is run by the adapter of its method.

The root is ``PERSONA_PARITY_DATA``, by default the cases kept beside this file. A case holds ``case.json`` (config,
inputs, outputs, tolerance) and ``tensors.safetensors``; errors count relative to each output's largest entry.
"""

import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file

from diffusers_persona.functional.merging import constrained_merge

ROOT = Path(os.environ.get("PERSONA_PARITY_DATA") or Path(__file__).parent / "data")
CASES = sorted(path.parent for path in ROOT.glob("*/*/case.json"))


def custom_diffusion_fusion(config, t):
    return {"W_new": constrained_merge(t["W"], t["K"], t["K_target"], t["V_target"])}


ADAPTERS = {"custom-diffusion-fusion": ("custom-diffusion", custom_diffusion_fusion)}


def name(path):
    return f"{path.parent.name}/{path.name}"


COVERED = [path for path in CASES if path.parent.name in ADAPTERS]


def test_there_are_cases_to_run():
    others = [name(path) for path in CASES if path not in COVERED]
    print(f"{len(COVERED)} cases covered; without an adapter: {', '.join(others) or 'none'}")
    assert COVERED, f"{ROOT} holds no case that an adapter of ours covers"


@pytest.mark.parametrize("path", COVERED, ids=name)
@pytest.mark.evidence(level="parity", recipe="custom-diffusion")
def test_a_case_agrees_with_the_official_code(path):
    case = json.loads((path / "case.json").read_text())
    tensors = load_file(path / "tensors.safetensors")
    inputs = {key.removeprefix("in/"): value for key, value in tensors.items() if key.startswith("in/")}
    found = ADAPTERS[case["method"]][1](case["config"], inputs)
    for key, facts in case["outputs"].items():
        error = float((found[key] - tensors[f"out/{key}"]).abs().max()) / facts["absmax"]
        print(f"{name(path)} {key}: max error {error:.2e} of {case['tolerance']:.0e}")
        assert error <= case["tolerance"]
