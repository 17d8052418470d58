"""`persona doctor` tells what the machine has and what is missing."""

import json

import pytest

from diffusers_persona.cli import doctor


def test_json_has_versions_devices_optional_packages_and_the_toybox(persona):
    code, out, _ = persona("doctor", "--json")
    report = json.loads(out)
    assert set(report) == {"system", "packages", "optional", "devices", "toybox"}
    assert {"torch", "diffusers", "peft"} <= {row["package"] for row in report["packages"]}
    assert "cpu" in report["devices"]
    assert {"faces", "studio", "bench"} <= {row["extra"] for row in report["optional"]}
    healthy = all(row["state"] == "ok" for row in report["packages"]) and "damaged" not in str(report["toybox"])
    assert code == (0 if healthy else 2)


def test_a_package_that_is_missing_is_an_error_with_the_next_step(persona, monkeypatch):
    row = {"package": "peft", "installed": "", "wanted": ">=0.21", "state": "missing"}
    monkeypatch.setattr(doctor, "_requirements", lambda: ([row], []))
    code, _, err = persona("doctor")
    assert code == 2
    assert "peft >=0.21 is missing" in err[-1] and "pip install" in err[-1]


@pytest.mark.parametrize(
    "words, state", [("safetensors>=0.1", "ok"), ("safetensors>=999", "outside"), ("no-such", "missing")]
)
def test_a_requirement_is_compared_with_what_is_installed(words, state):
    from packaging.requirements import Requirement

    assert doctor._state(Requirement(words))["state"].startswith(state)
