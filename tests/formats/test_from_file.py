"""`Concept.from_file`, `export`, `persona inspect` and `persona convert`: files, folders, and what they say."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diffusers_persona import Concept
from diffusers_persona.cli import main
from diffusers_persona.errors import PersonaError
from diffusers_persona.formats.registry import formats
from diffusers_persona.testing import tiny_pipeline

LAYER = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
LORA = {f"{LAYER}.lora_A.weight": torch.ones(2, 32), f"{LAYER}.lora_B.weight": torch.ones(32, 2)}
WORD = {"<toy>": torch.ones(2, 32)}


@pytest.fixture
def persona(capsys):
    def run(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, " ".join(captured.err.split())

    return run


def test_a_folder_with_one_known_file_is_that_file(tmp_path):
    save_file(WORD, tmp_path / "some.safetensors")
    (tmp_path / "notes.txt").write_text("no weights")
    torch.save({"state": {}}, tmp_path / "optimizer.bin")
    assert Concept.from_file(tmp_path).token == "<toy>"


def test_of_the_same_weights_twice_safetensors_are_read(tmp_path):
    save_file(WORD, tmp_path / "learned_embeds.safetensors")
    torch.save(WORD, tmp_path / "learned_embeds.bin")
    assert Concept.from_file(tmp_path).header["sources"][0]["file"] == "learned_embeds.safetensors"


def test_the_final_embedding_is_chosen_over_those_of_earlier_steps(tmp_path):
    for name in ("learned_embeds-steps-100", "learned_embeds-steps-200", "learned_embeds"):
        save_file(WORD, tmp_path / f"{name}.safetensors")
    assert Concept.from_file(tmp_path).header["sources"][0]["file"] == "learned_embeds.safetensors"


def test_several_files_that_could_be_meant_are_named(tmp_path):
    for name in ("a", "b"):
        save_file(WORD, tmp_path / f"{name}.safetensors")
    with pytest.raises(PersonaError, match="several files that could be meant .a.safetensors, b.safetensors"):
        Concept.from_file(tmp_path)


def test_an_adapter_and_the_words_beside_it_are_one_concept(tmp_path):
    save_file(LORA, tmp_path / "pytorch_lora_weights.safetensors")
    save_file({"<s0>": torch.ones(1, 32)}, tmp_path / "emb0.safetensors")
    save_file({"<s1>": torch.ones(1, 32)}, tmp_path / "emb1.safetensors")
    concept = Concept.from_file(tmp_path, noun="dog")
    assert sorted(space.kind for space in concept.spaces) == ["low_rank", "word", "word"]
    assert concept.phrase == "<s0> <s1> dog"
    renamed = Concept.from_file(tmp_path, token=["<x>", "<y>"])
    assert [space.token for space in renamed.spaces if space.kind == "word"] == ["<x>", "<y>"]
    with renamed.attach(tiny_pipeline("sd")):
        pass


def test_a_saved_concept_is_read_as_itself(tmp_path):
    save_file(WORD, tmp_path / "a.safetensors")
    concept = Concept.from_file(tmp_path / "a.safetensors")
    assert Concept.from_file(concept.save_pretrained(tmp_path / "saved")).digest == concept.digest


def test_a_name_that_lies_changes_nothing(tmp_path):
    save_file(WORD, tmp_path / "pytorch_lora_weights.bin")
    assert Concept.from_file(tmp_path / "pytorch_lora_weights.bin").spaces[0].kind == "word"


@pytest.mark.parametrize(
    "content, named",
    [
        ({"some.layer.weight": torch.ones(3, 3)}, "no key matches a known format .some.layer.weight"),
        ({"controlnet_cond_embedding.conv_in.weight": torch.ones(1)}, "this is ControlNet, and it controls a layout"),
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.ones(1)}, "it is a whole base model"),
        ({}, "no tensor at all"),
    ],
)
def test_what_is_no_concept_is_said_in_one_line(tmp_path, content, named):
    save_file(content, tmp_path / "x.safetensors")
    with pytest.raises(PersonaError, match=f"x.safetensors: .*{named}") as caught:
        Concept.from_file(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)


def test_a_pipeline_folder_and_a_missing_path_are_refused(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(PersonaError, match="whole pipeline"):
        Concept.from_file(tmp_path)
    with pytest.raises(PersonaError, match="nowhere.pt"):
        Concept.from_file(tmp_path / "nowhere.pt")


def test_a_base_names_the_model_in_the_header(tmp_path):
    save_file(WORD, tmp_path / "a.safetensors")
    base = Concept.from_file(tmp_path / "a.safetensors", base=tiny_pipeline("sd")).header["base_model"]
    assert base["family"] == "sd" and base["fingerprint"]


# ------------------------------------------------------------------------------------------------------------- export


def test_an_unknown_format_and_one_that_does_not_fit_name_those_that_do(tmp_path):
    save_file(WORD, tmp_path / "a.safetensors")
    concept = Concept.from_file(tmp_path / "a.safetensors")
    with pytest.raises(PersonaError, match="'nonsense' is unknown; formats that are written: .*diffusers"):
        concept.export("nonsense", tmp_path)
    with pytest.raises(PersonaError, match="can't be written as 'peft'; it has: .*a1111"):
        concept.export("peft", tmp_path)
    with pytest.raises(PersonaError, match="rename it or give a folder|rename the file or give a folder"):
        concept.export("original", tmp_path / "x.safetensors")


def test_a_format_that_holds_a_part_of_the_concept_is_refused(tmp_path):
    save_file(LORA, tmp_path / "pytorch_lora_weights.safetensors")
    save_file(WORD, tmp_path / "word.safetensors")
    concept = Concept.from_file(tmp_path)
    with pytest.raises(PersonaError, match="low_rank . word space can't be written as 'original'"):
        concept.export("original", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    names = {path.name for path in concept.export("diffusers", tmp_path / "out")}
    assert names == {"learned_embeds.safetensors", "pytorch_lora_weights.safetensors"}


def test_every_format_says_what_it_is_and_the_list_has_no_twin():
    titles = [each.title for each in formats()]
    assert len(titles) == len(set(titles))
    for each in formats():
        assert each.kind and each.layout, each.title
        assert each.load is not None or each.save is not None or each.refusal, each.title
        assert (each.save is None) == (not each.writes), each.title


# ------------------------------------------------------------------------------------------------------- command line


def test_inspect_shows_what_becomes_of_the_keys(persona, tmp_path):
    save_file(LORA | {"odd.tensor": torch.ones(1)}, tmp_path / "lora.safetensors")
    code, out, _ = persona("inspect", tmp_path / "lora.safetensors")
    assert code == 0 and "2 keys matched, 1 unused, 0 missing; unused: odd.tensor" in " ".join(out.split())
    report = json.loads(persona("inspect", tmp_path / "lora.safetensors", "--json")[1])["report"]
    assert report == {"matched": sorted(LORA), "unused": ["odd.tensor"], "missing": []}


def test_inspect_opens_a_pickle_that_is_plain_data(persona, tmp_path):
    torch.save(
        {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(3, 768)}, "name": "neg", "step": 7},
        tmp_path / "a.pt",
    )
    code, out, _ = persona("inspect", tmp_path / "a.pt", "--keys")
    assert code == 0
    for text in ("A1111", "neg", "SD 1.x", "string_to_param.*", "3x768", "1 keys matched"):
        assert text in out


def test_inspect_says_why_a_known_file_cannot_be_loaded(persona, tmp_path):
    save_file({"<toy>": torch.full((1, 32), float("nan"))}, tmp_path / "a.safetensors")
    code, out, _ = persona("inspect", tmp_path / "a.safetensors")
    assert code == 0 and "key '<toy>' holds values that are not finite" in out


def test_convert_turns_a_pickle_into_safetensors_with_its_keys(persona, tmp_path):
    torch.save({"string_to_param": {"*": torch.ones(2, 32)}, "name": "neg", "step": 7}, tmp_path / "a.pt")
    assert persona("convert", tmp_path / "a.pt", tmp_path / "b.safetensors")[0] == 0
    assert list(load_file(tmp_path / "b.safetensors")) == ["string_to_param.*"]
    with safe_open(tmp_path / "b.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "name": "neg", "step": "7"}
    assert torch.equal(next(iter(Concept.from_file(tmp_path / "b.safetensors").tensors.values())), torch.ones(2, 32))


def test_convert_writes_another_format_or_a_concept(persona, tmp_path):
    save_file(WORD, tmp_path / "a.safetensors")
    code, out, err = persona("convert", tmp_path / "a.safetensors", tmp_path / "toy.pt", "--to", "a1111")
    assert (code, out.strip()) == (0, str(tmp_path / "toy.pt")) and "1 keys matched" in err
    assert persona("convert", tmp_path / "toy.pt", tmp_path / "toy", "--token", "<new>")[0] == 0
    assert Concept.from_pretrained(tmp_path / "toy").token == "<new>"


def test_convert_of_a_trap_is_one_line(persona, tmp_path):
    torch.save({"x": print}, tmp_path / "a.pt")
    code, _, err = persona("convert", tmp_path / "a.pt", tmp_path / "b.safetensors")
    assert code == 2 and "print" in err and not (tmp_path / "b.safetensors").exists()
