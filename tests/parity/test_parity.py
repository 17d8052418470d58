"""Golden tensors of official code: each case folder is run by the adapter of its method.

The root is ``PERSONA_PARITY_DATA``, by default the cases kept beside this file. A case holds ``case.json`` (config,
inputs, outputs, tolerance) and ``tensors.safetensors``; errors count relative to each output's largest entry.

An adapter is a file ``adapters/<method>.py`` with ``RECIPE``, the recipe whose evidence it is, and
``run(case, config, t) -> {output: tensor}``, where `t` holds the inputs and, as ``"weights/<official key>"``, weights.
Outputs named in its ``SIGN_FREE`` are rows whose sign means nothing.
"""

import importlib.util
import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file

HERE = Path(__file__).parent
ROOT = Path(os.environ.get("PERSONA_PARITY_DATA") or HERE / "data")
CASES = sorted(path.parent for path in ROOT.glob("*/*/case.json"))
ADAPTERS = {path.stem.replace("_", "-"): path for path in (HERE / "adapters").glob("[a-z]*.py")}
COVERED = [path for path in CASES if path.parent.name in ADAPTERS]


def name(path):
    return f"{path.parent.name}/{path.name}"


def adapter(method):
    spec = importlib.util.spec_from_file_location(f"parity_adapter_{method.replace('-', '_')}", ADAPTERS[method])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def covered(path):
    recipe = adapter(path.parent.name).RECIPE
    return pytest.param(path, id=name(path), marks=pytest.mark.evidence(level="parity", recipe=recipe))


def test_there_are_cases_to_run():
    others = [name(path) for path in CASES if path not in COVERED]
    print(f"{len(COVERED)} cases covered; without an adapter: {', '.join(others) or 'none'}")
    assert COVERED, f"{ROOT} holds no case that an adapter of ours covers"


@pytest.mark.parametrize("path", [covered(path) for path in COVERED])
def test_a_case_agrees_with_the_official_code(path):
    case = json.loads((path / "case.json").read_text())
    tensors = load_file(path / "tensors.safetensors")
    inputs = {key.removeprefix("in/"): value for key, value in tensors.items() if not key.startswith("out/")}
    module, errors = adapter(path.parent.name), {}
    found = module.run(case, case["config"], inputs)
    for key, facts in case["outputs"].items():
        expected = tensors[f"out/{key}"].float()
        scale = facts.get("absmax") or float(expected.abs().max())
        assert found[key].shape == expected.shape, f"{key}: {tuple(found[key].shape)}, not {tuple(expected.shape)}"
        if key in getattr(module, "SIGN_FREE", ()):
            found[key] = found[key] * (found[key] * expected).sum(-1, keepdim=True).sign()
        errors[key] = float((found[key].float() - expected).abs().max()) / (scale or 1.0)
    worst = max(errors, key=errors.get)
    print(f"{name(path)}: max error {errors[worst]:.2e} of {case['tolerance']:.0e} ({worst})")
    assert errors[worst] <= case["tolerance"]
