"""The concept's folder: whole or refused, and readable by stock diffusers."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusers_persona import Concept, PersonaError
from diffusers_persona.testing import tiny_pipeline


@pytest.fixture
def folder(pipe, learned, tmp_path):
    return learned(pipe, "textual-inversion", token="<toy>", vectors=2).save_pretrained(tmp_path / "toy")


def test_the_header_tells_how_the_concept_came_to_be(folder):
    header = json.loads((folder / "concept.json").read_text())
    assert header["schema_version"] == 1
    assert header["recipe"] == "textual-inversion" and header["numbers"]["lr"] == 2e-2
    assert (header["token"], header["noun"], header["phrase"]) == ("<toy>", "dog", "<toy>")
    (space,) = header["spaces"]
    assert {k: space[k] for k in ("kind", "init", "token", "vectors")} == {
        "kind": "word",
        "init": "noun",
        "token": None,
        "vectors": 2,
    }
    assert header["base_model"]["family"] == "sd" and len(header["base_model"]["fingerprint"]) == 16
    assert len(header["training"]["images"]) == 4 and len(header["training"]["loss_curve"]) == 3
    assert {"torch", "diffusers", "diffusers_persona"} <= set(header["versions"])


def test_a_card_is_written_beside_it(folder):
    card = (folder / "README.md").read_text()
    assert card.startswith("---") and "<toy>" in card and "load_textual_inversion" in card


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.evidence(level="formats", recipe="textual-inversion")
def test_stock_load_textual_inversion_draws_the_same(family, learned, draw, tmp_path):
    pipe = tiny_pipeline(family)
    concept = learned(pipe, "textual-inversion", token="<toy>", vectors=2, lr=0.5)
    concept.save_pretrained(tmp_path / "toy")
    with concept.attach(pipe):
        ours = draw(pipe, "a photo of <toy> on red")
    stock = tiny_pipeline(family)
    if family == "sd":
        stock.load_textual_inversion(str(tmp_path / "toy"), weight_name="learned_embeds.safetensors")
    else:
        words = load_file(tmp_path / "toy" / "learned_embeds.safetensors")
        stock.load_textual_inversion(words["clip_l"], "<toy>", stock.tokenizer, stock.text_encoder)
        stock.load_textual_inversion(words["clip_g"], "<toy>", stock.tokenizer_2, stock.text_encoder_2)
    assert np.abs(draw(stock, "a photo of <toy> on red") - ours).max() < 1e-5


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("knobs", [{}, {"alpha": 2.0, "rank_stabilised": True}, {"train_text_encoder": True}], ids=str)
@pytest.mark.evidence(level="formats", recipe="lora")
def test_stock_load_lora_weights_draws_the_same(family, knobs, learned, draw, tmp_path):
    pipe = tiny_pipeline(family)
    concept = learned(pipe, "lora", **knobs)
    concept.save_pretrained(tmp_path / "toy")
    with concept.attach(pipe):
        ours = draw(pipe, "a photo of sks dog")
    stock = tiny_pipeline(family)
    before = draw(stock, "a photo of sks dog")
    stock.load_lora_weights(str(tmp_path / "toy"), weight_name="pytorch_lora_weights.safetensors")
    assert np.abs(draw(stock, "a photo of sks dog") - ours).max() < 1e-4
    assert np.abs(before - ours).max() > 1e-3


def damage_tensors(folder):
    path = folder / "concept.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 0xFF
    path.write_bytes(content)


def cut_tensors(folder):
    path = folder / "concept.safetensors"
    path.write_bytes(path.read_bytes()[:40])


def edit_header(folder, **changes):
    path = folder / "concept.json"
    header = json.loads(path.read_text())
    for key, value in changes.items():
        header.pop(key) if value is None else header.__setitem__(key, value)
    path.write_text(json.dumps(header))


def not_finite(folder):
    tensors = load_file(folder / "concept.safetensors")
    name = next(iter(tensors))
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, folder / "concept.safetensors")
    edit_header(folder, tensors_sha256=None)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_tensors, "the tensors are not those of concept.json"),
        (cut_tensors, "the tensors are not those of concept.json"),
        (not_finite, "key '0.word.text_encoder.*not finite"),
        (lambda f: (f / "concept.safetensors").unlink(), "concept.safetensors: cannot be read"),
        (lambda f: (f / "concept.json").unlink(), "concept.json: cannot be read"),
        (lambda f: (f / "concept.json").write_text("{"), "not a readable JSON header"),
        (lambda f: (f / "concept.json").write_text("[" * 100000), "not a readable JSON header"),
        (lambda f: (f / "concept.json").write_text("[]"), "no JSON object"),
        (lambda f: edit_header(f, token=None), "key 'token' is missing"),
        (lambda f: edit_header(f, spaces="word"), "key 'spaces' is missing or not of type list"),
        (lambda f: edit_header(f, spaces=[{"kind": "astral"}]), "unknown kind"),
        (lambda f: edit_header(f, spaces=[{"kind": "word", "vectors": -2}]), "not valid"),
        (lambda f: edit_header(f, schema_version=99), "newer than this library"),
    ],
)
def test_a_damaged_folder_gets_one_clear_line(folder, damage, message):
    damage(folder)
    with pytest.raises(PersonaError, match=message) as caught:
        Concept.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_neither_folder_nor_repository_says_so():
    with pytest.raises(PersonaError, match="no/such/folder/here"):
        Concept.from_pretrained("no/such/folder/here")
    with pytest.raises(PersonaError, match="someone/nothing: no such folder"):
        Concept.from_pretrained("someone/nothing")


def test_an_interrupted_save_is_noticed_and_the_old_files_are_whole(pipe, learned, folder, monkeypatch):
    """Killed between two files, the folder is never read as something that it is not."""
    import os

    class Killed(BaseException):
        pass

    real, new = os.replace, learned(pipe, "textual-inversion", token="<toy>", vectors=2, lr=0.3)

    def dies_before_the_header(source, target):
        if os.path.basename(target) == "concept.json":
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", dies_before_the_header)
    with pytest.raises(Killed):
        new.save_pretrained(folder)
    with pytest.raises(PersonaError, match="interrupted save"):
        Concept.from_pretrained(folder)
