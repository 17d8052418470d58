"""Exit codes: 0 done, 2 the user can fix it (one line on stderr), 1 a bug (a hint to report it)."""

import pytest

MISTAKES = {
    "unknown command": (("lern",), "lern"),
    "unknown option": (("learn", "pictures", "--colour", "red"), "--colour"),
    "no pictures there": (("learn", "nowhere", "--noun", "dog"), "nowhere does not exist"),
    "no noun": (
        (
            "learn",
            "{pictures}",
        ),
        "--noun",
    ),
    "unknown kind": (("learn", "{pictures}", "--noun", "dog", "--kind", "ghost"), "object, live, person, style"),
    "unknown recipe": (("learn", "{pictures}", "--noun", "dog", "--recipe", "lorra"), "did you mean lora"),
    "unknown number": (("learn", "{pictures}", "--noun", "dog", "--set", "colour=3"), "'colour'"),
    "not a number": (("learn", "{pictures}", "--noun", "dog", "--set", "rank"), "KEY=VALUE"),
    "number twice": (("learn", "{pictures}", "--noun", "dog", "--set", "rank=1", "--set", "rank=2"), "twice"),
    "wrong type": (("learn", "{pictures}", "--noun", "dog", "--steps", "many"), "--steps"),
    "unknown precision": (("learn", "{pictures}", "--noun", "dog", "--precision", "fp8"), "fp32, bf16, fp16"),
    "base is no pipeline": (("learn", "{pictures}", "--noun", "dog", "--base", "{pictures}"), "model_index.json"),
    "no such device": (("learn", "{pictures}", "--noun", "dog", "--base", "{base}", "--device", "tpu"), "auto, cpu"),
    "unknown toy": (("learn", "toybox:no-such-toy"), "no-such-toy"),
    "no concept there": (("generate", "{pictures}", "--prompt", "a {}", "--base", "{base}"), "concept.json"),
    "prompt without concept": (("generate", "{lora}", "--prompt", "a cat", "--base", "{base}"), "does not name"),
    "one place too many": (("generate", "{lora}", "--prompt", "a {} and {}", "--base", "{base}"), "concept 2 of 1"),
    "scales": (("generate", "{lora}", "--prompt", "{}", "--scale", "1", "--scale", "2"), "once for each"),
    "empty recipe list": (("compare", "--recipes", ",", "--images", "{pictures}", "--noun", "dog"), "--recipes"),
    "number of another recipe": (
        ("compare", "--recipes", "lora", "--images", "{pictures}", "--noun", "dog", "--set", "dreambooth.lr=1"),
        "'dreambooth' is not among",
    ),
    "nothing to inspect": (("inspect", "nowhere"), "nowhere does not exist"),
    "no such recipe": (("recipes", "lorra"), "did you mean lora"),
    "seeds": (("bench", "toybench", "--recipes", "lora", "--seeds", "one"), "whole numbers"),
}


@pytest.mark.parametrize("words, hint", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_exits_with_2_and_one_line_that_names_it(persona, base, pictures, concepts, words, hint):
    places = {"{pictures}": pictures, "{base}": base, "{lora}": concepts / "lora"}
    code, out, err = persona(*(places.get(word, word) for word in words))
    assert code == 2
    assert out == ""
    assert len(err) == 1 and err[0].startswith("persona: ")
    assert hint in err[0]


def test_a_bug_exits_with_1_and_asks_for_a_report(persona, monkeypatch):
    monkeypatch.setattr("diffusers_persona.recipes.list", lambda **_: 1 / 0)
    code, _, err = persona("recipes")
    assert code == 1
    assert any(line.startswith("Traceback") for line in err)
    assert "this is a bug (ZeroDivisionError)" in err[-1] and "persona doctor" in err[-1]


def test_ctrl_c_exits_with_130(persona, monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr("diffusers_persona.recipes.list", interrupted)
    assert persona("recipes")[0] == 130


def test_a_full_or_read_only_disk_is_named(persona, concepts, base, tmp_path):
    (tmp_path / "blocked").write_text("a file where a folder should be")
    code, _, err = persona(
        "generate", concepts / "lora", "--prompt", "a {}", "--base", base, "--steps", 1, "--output", "blocked"
    )
    assert code == 2
    assert "blocked" in err[-1]


def test_the_version_is_printed(persona):
    from diffusers_persona import __version__

    code, out, _ = persona("--version")
    assert (code, out.strip()) == (0, __version__)
