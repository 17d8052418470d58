"""Text embeddings in every layout that people exchange become words, and words become those files again."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusers_persona import Concept
from diffusers_persona.errors import PersonaError
from diffusers_persona.testing import tiny_pipeline

WIDTH = 32  # of the tiny text encoder


def vectors(n, width=WIDTH, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


ONE, TWO = vectors(1), vectors(2, seed=1)
A1111 = {"string_to_token": {"*": 265}, "string_to_param": {"*": TWO}, "sd_checkpoint": None, "step": 500}
ORIGINAL = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": torch.nn.ParameterDict({"*": TWO})}
FEW = {
    "string_to_token": {"<a>": torch.tensor(265), "<b>": torch.tensor(4)},
    "string_to_param": torch.nn.ParameterDict({"<a>": TWO, "<b>": ONE}),
}
XL = {"clip_l": vectors(2), "clip_g": vectors(2, 40)}
# file -> content, its words in order, vectors of each
LAYOUTS = {
    "learned_embeds.safetensors": ({"<toy>": ONE}, {"<toy>": 1}),
    "learned_embeds.bin": ({"<toy>": TWO}, {"<toy>": 2}),
    "flat.bin": ({"<toy>": ONE[0]}, {"<toy>": 1}),
    "spaced.safetensors": ({"my old toy": ONE}, {"my old toy": 1}),
    "dotted.safetensors": ({"<v1.5>": ONE}, {"<v1.5>": 1}),
    "tokens.safetensors": ({"<a>": ONE, "<b>": TWO}, {"<a>": 1, "<b>": 2}),
    "batch.safetensors": ({"<toy>": TWO[None]}, {"<toy>": 2}),
    "half.safetensors": ({"<toy>": TWO.half()}, {"<toy>": 2}),
    "brain.bin": ({"<toy>": TWO.bfloat16()}, {"<toy>": 2}),
    "a1111.pt": (A1111 | {"name": "my-style"}, {"my-style": 2}),
    "Without Name.pt": (A1111, {"<Without-Name>": 2}),
    "a1111.safetensors": ({"emp_params": TWO}, {"<a1111>": 2}),
    "kohya.safetensors": ({"emb_params": TWO}, {"<kohya>": 2}),
    "embeddings.pt": (ORIGINAL, {"<concept>": 2}),
    "few.pt": (FEW, {"<a>": 2, "<b>": 1}),
    "bare.pt": (TWO, {"<bare>": 2}),
    "xl.safetensors": (XL, {"<xl>": 2}),
    "xl.pt": (XL | {"name": "xl"}, {"xl": 2}),
    "pivotal.safetensors": (
        {"text_encoders_0": vectors(2), "text_encoders_1": vectors(2, 40)},
        {"<pivotal>": 2},
    ),
}


def write(path, content, **options):
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path, **options)
    return path


@pytest.fixture
def draw():
    def draw(pipe, prompt):
        generator = torch.Generator().manual_seed(0)
        options = dict(num_inference_steps=2, height=32, width=32, output_type="np", generator=generator)
        return np.asarray(pipe(prompt, **options).images)

    return draw


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_known_by_its_keys_and_gives_its_words(tmp_path, name):
    content, words = LAYOUTS[name]
    concept = Concept.from_file(write(tmp_path / name, content))
    assert {space.token: space.vectors for space in concept.spaces} == words
    assert {space.kind for space in concept.spaces} == {"word"}
    assert concept.phrase == " ".join(words)
    assert concept.report.matched and not concept.report.unused and not concept.report.missing
    for key, value in concept.tensors.items():
        assert value.dtype == torch.float32 and value.ndim == 2, key


@pytest.mark.parametrize("name", [name for name in LAYOUTS if not name.endswith(".safetensors")])
def test_the_older_container_of_torch_is_read_the_same(tmp_path, name):
    content, _ = LAYOUTS[name]
    new = Concept.from_file(write(tmp_path / name, content))
    old = Concept.from_file(write(tmp_path / name, content, _use_new_zipfile_serialization=False))
    assert old.digest == new.digest


def test_the_values_are_those_of_the_file(tmp_path):
    concept = Concept.from_file(write(tmp_path / "xl.safetensors", XL))
    assert torch.equal(concept.tensors["0.word.text_encoder.embedding"], XL["clip_l"])
    assert torch.equal(concept.tensors["0.word.text_encoder_2.embedding"], XL["clip_g"])
    assert concept.header["base_model"] == {"family": "sdxl"}


def test_the_header_says_where_it_came_from_and_survives_saving(tmp_path):
    concept = Concept.from_file(write(tmp_path / "a.pt", A1111), token="<neg>", noun="style")
    assert (concept.header["recipe"], concept.noun, concept.phrase) == ("imported", "style", "<neg>")
    assert concept.header["provenance"].startswith("imported from a.pt, Textual Inversion embedding (A1111), sha256 ")
    back = Concept.from_pretrained(concept.save_pretrained(tmp_path / "saved"))
    assert (back.header, back.digest) == (concept.header, concept.digest)
    assert "imported from a.pt" in (tmp_path / "saved" / "README.md").read_text()
    assert torch.equal(load_file(tmp_path / "saved" / "learned_embeds.safetensors")["<neg>"], TWO)


def test_a_token_renames_the_word_and_several_split_its_vectors(tmp_path):
    path = write(tmp_path / "x.pt", A1111)
    assert [space.token for space in Concept.from_file(path, token="<neg>").spaces] == ["<neg>"]
    split = Concept.from_file(path, token=["<s0>", "<s1>"])
    assert [(space.token, space.vectors) for space in split.spaces] == [("<s0>", 1), ("<s1>", 1)]
    assert torch.equal(split.tensors["1.word.text_encoder.embedding"], TWO[1:])


def test_a_number_of_tokens_that_does_not_fit_is_one_clear_line(tmp_path):
    path = write(tmp_path / "few.pt", FEW)
    with pytest.raises(PersonaError, match=r"few.pt: 2 words are in the file \('<a>', '<b>'\), 1 tokens were given"):
        Concept.from_file(path, token="<x>")


@pytest.mark.parametrize(
    "content, named",
    [
        ({"<toy>": vectors(1)[:, :3]}, "no key matches a known format"),
        ({"<toy>": TWO.long()}, "no key matches a known format"),
        ({"clip_l": vectors(2), "clip_g": vectors(3)}, "different numbers of vectors"),
        ({"<toy>": torch.full((1, WIDTH), float("nan"))}, "'<toy>' holds values that are not finite"),
        ({"<toy>": torch.zeros(2, 3, WIDTH)}, "'<toy>' .*is no text embedding"),
    ],
)
def test_what_is_no_embedding_is_refused_by_key(tmp_path, content, named):
    with pytest.raises(PersonaError, match=f"odd.safetensors: .*{named}"):
        Concept.from_file(write(tmp_path / "odd.safetensors", content))


@pytest.mark.parametrize("content", [XL, {"emp_params": TWO}, {"<toy>": ONE}])
def test_what_stands_beside_the_vectors_is_reported_as_unused(tmp_path, content):
    concept = Concept.from_file(write(tmp_path / "a.safetensors", content | {"step": torch.tensor(500)}))
    assert (set(concept.report.matched), concept.report.unused) == (set(content), ("step",))


def test_half_of_a_pair_says_what_is_missing(tmp_path):
    concept = Concept.from_file(write(tmp_path / "half.safetensors", {"clip_g": vectors(1)}))
    assert concept.report.missing == ("clip_l",)
    with pytest.raises(PersonaError, match="text_encoder.embedding"):
        concept.attach(tiny_pipeline("sdxl"))


def test_an_embedding_of_another_width_is_refused_at_the_pipeline(tmp_path):
    concept = Concept.from_file(write(tmp_path / "sd2.safetensors", {"<toy>": torch.zeros(1, 2, 1024)}))
    assert concept.spaces[0].vectors == 2
    with pytest.raises(PersonaError, match=r"shape \(2, 1024\), the text encoder needs \[n, 32\]"):
        concept.attach(tiny_pipeline("sd"))


# ------------------------------------------------------------------------------------------------------------ stock


@pytest.mark.parametrize(
    "name", ["learned_embeds.safetensors", "learned_embeds.bin", "flat.bin", "brain.bin", "a1111.pt"]
)
def test_a_file_paints_the_same_picture_here_and_in_stock_diffusers(tmp_path, draw, name):
    content, words = LAYOUTS[name]
    path, (word,) = write(tmp_path / name, content), words
    ours, stock = tiny_pipeline("sd"), tiny_pipeline("sd")
    stock.load_textual_inversion(str(tmp_path), weight_name=name)
    with Concept.from_file(path).attach(ours):
        np.testing.assert_array_equal(draw(ours, f"a photo of {word}"), draw(stock, f"a photo of {word}"))
    assert not np.array_equal(draw(stock, f"a photo of {word}"), draw(ours, "a photo of cat"))


@pytest.mark.parametrize("name", ["diffusers", "a1111"])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
def test_stock_diffusers_reads_what_is_exported(tmp_path, draw, name, suffix):
    concept = Concept.from_file(write(tmp_path / "in.bin", {"<toy>": TWO}))
    (path,) = concept.export(name, tmp_path / f"word{suffix}")
    ours, stock = tiny_pipeline("sd"), tiny_pipeline("sd")
    stock.load_textual_inversion(str(tmp_path), weight_name=path.name, token="<toy>")
    with concept.attach(ours):
        np.testing.assert_array_equal(draw(ours, "a photo of <toy>"), draw(stock, "a photo of <toy>"))


def test_stock_diffusers_reads_an_exported_pair(tmp_path, draw):
    ours, stock = tiny_pipeline("sdxl"), tiny_pipeline("sdxl")
    widths = [e.get_input_embeddings().embedding_dim for e in (ours.text_encoder, ours.text_encoder_2)]
    pair = {"clip_l": vectors(2, widths[0]), "clip_g": vectors(2, widths[1], seed=3)}
    concept = Concept.from_file(write(tmp_path / "xl.safetensors", pair), token="<toy>")
    (path,) = concept.export("a1111", tmp_path / "out.safetensors")
    words = load_file(path)
    stock.load_textual_inversion(words["clip_l"], "<toy>", stock.tokenizer, stock.text_encoder)
    stock.load_textual_inversion(words["clip_g"], "<toy>", stock.tokenizer_2, stock.text_encoder_2)
    with concept.attach(ours):
        np.testing.assert_array_equal(draw(ours, "a photo of <toy>"), draw(stock, "a photo of <toy>"))


# ------------------------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("format", ["diffusers", "a1111", "original"])
@pytest.mark.parametrize("name", ["learned_embeds.bin", "a1111.pt", "xl.pt", "tokens.safetensors"])
def test_a_round_trip_keeps_every_bit(tmp_path, format, name):
    content, words = LAYOUTS[name]
    concept = Concept.from_file(write(tmp_path / name, content))
    if format == "original" and name == "xl.pt":
        with pytest.raises(PersonaError, match="can't be written as 'original'; it has: diffusers, a1111"):
            concept.export(format, tmp_path / "out")
        return
    files = concept.export(format, tmp_path / "out")
    assert len(files) == (1 if format == "original" else len(words))
    back = [Concept.from_file(file, token=list(words) if len(files) == 1 else None) for file in files]
    tensors = [value for each in back for value in each.tensors.values()]
    assert len(tensors) == len(concept.tensors)
    for ours, theirs in zip(concept.tensors.values(), tensors, strict=True):
        assert torch.equal(ours, theirs)


def test_the_original_file_is_one_that_its_code_can_use(tmp_path):
    concept = Concept.from_file(write(tmp_path / "a.pt", A1111))
    (path,) = concept.export("original", tmp_path / "embeddings.pt")
    content = torch.load(path, weights_only=False)  # as the original code does, and we never do
    assert isinstance(content["string_to_param"], torch.nn.ParameterDict)
    assert torch.equal(content["string_to_param"]["*"].data, TWO) and int(content["string_to_token"]["*"]) == 265


def test_a_word_never_leads_out_of_the_folder_that_is_exported_to(tmp_path):
    concept = Concept.from_file(write(tmp_path / "x.bin", {"<../../evil>": ONE}))
    (path,) = concept.export("a1111", tmp_path / "out")
    assert path.parent == tmp_path / "out" and path.is_file()


def test_metadata_say_the_licence(tmp_path):
    save_file({"<toy>": ONE}, tmp_path / "a.safetensors", metadata={"modelspec.license": "mit"})
    assert Concept.from_file(tmp_path / "a.safetensors").header["licence"] == "mit"


def test_a_bundle_gives_the_adapter_and_its_words(tmp_path):
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    content = {f"unet.{layer}.lora_A.weight": torch.randn(2, 32), f"unet.{layer}.lora_B.weight": torch.randn(32, 2)}
    content |= {"bundle_emb.my.word.string_to_param.*": TWO, "bundle_emb.other.string_to_param.*": ONE}
    concept = Concept.from_file(write(tmp_path / "bundle.safetensors", content))
    assert [space.kind for space in concept.spaces] == ["word", "word", "low_rank"]
    assert [space.token for space in concept.spaces[:2]] == ["my.word", "other"]
    assert set(concept.report.matched) == set(content)
    assert json.loads(json.dumps(concept.header)) == concept.header
