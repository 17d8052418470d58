"""Several concepts become one by command line."""

from safetensors.torch import load_file

import diffusers_persona as dp


def learned(base, pictures, name, *, recipe="lora", token="sks"):
    from diffusers_persona.cli.hosts import open_base

    pipe = open_base(str(base), device="cpu")
    numbers = dict(steps=1, lr=0.1, noun="dog", token=token, progress=False)
    return dp.learn(pipe, pictures, recipe, output=name, **numbers)


def test_two_loras_are_summed_into_one_concept_that_draws(persona, base, pictures):
    for name, token in (("first", "sks"), ("second", "ktn")):
        learned(base, pictures, name, token=token)
    code, out, err = persona(
        "merge", "first", "second", "--how", "sum", "--set", "weight=0.5", "--base", base, "--output", "both"
    )
    assert code == 0 and out.strip() == "both"
    assert any("sks dog and ktn dog" in line for line in err)
    both = dp.Concept.from_pretrained("both")
    assert [space.rank for space in both.spaces] == [16]
    assert load_file("both/pytorch_lora_weights.safetensors")
    words = ("generate", "both", "--base", base, "--prompt", "a {}", "--count", 1, "--steps", 1)
    assert persona(*words)[0] == 0


def test_what_cannot_be_merged_is_one_line_with_the_next_step(persona, base, concepts):
    words = ("merge", concepts / "lora", concepts / "textual-inversion", "--base", base, "--output", "both")
    code, _, err = persona(*words)
    assert code == 2 and "how=" in err[-1]
    code, _, err = persona(*words, "--how", "nonsense")
    assert code == 2 and "there is no merge 'nonsense'" in err[-1]
    code, _, err = persona(*words, "--how", "sum", "--set", "size=2")
    assert code == 2 and "no number size" in err[-1]
