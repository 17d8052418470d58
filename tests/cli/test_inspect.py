"""`persona inspect` knows files by their content; their names may lie."""

import json
import os
import pickle
import zipfile

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from diffusers_persona.errors import PersonaError
from diffusers_persona.formats.probe import probe

FOREIGN = {
    "textual-inversion": {"<cat>": (2, 768)},
    "textual-inversion (A1111)": {"emp_params": (4, 768)},
    "textual-inversion (SDXL)": {"clip_l": (1, 768), "clip_g": (1, 1280)},
    "lora (PEFT keys)": {
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (4, 768),
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight": (320, 4),
    },
    "lora (kohya keys)": {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (16, 2048),
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": (640, 16),
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.alpha": (),
    },
    "custom-diffusion": {
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_custom_diffusion.weight": (320, 768),
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_v_custom_diffusion.weight": (320, 768),
    },
    "ip-adapter": {"image_proj.proj.weight": (8, 8), "ip_adapter.1.to_k_ip.weight": (8, 8)},
    "single-file": {"model.diffusion_model.input_blocks.0.0.weight": (4, 4, 3, 3)},
    "unknown": {"some.layer.weight": (3, 3), "some.layer.bias": (3,)},
}


def write(path, shapes, **metadata):
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path, metadata=metadata or None)
    return path


@pytest.mark.parametrize("kind", FOREIGN)
def test_weights_are_known_by_their_keys_whatever_the_file_is_called(tmp_path, kind):
    finding = probe(write(tmp_path / "lora-of-a-cat.bin", FOREIGN[kind]))
    assert finding.kind == kind.partition(" ")[0]
    assert [info.name for info in finding.tensors] and finding.facts["tensors"] == len(FOREIGN[kind])


def test_rank_width_base_family_and_licence_are_read_from_the_file(tmp_path):
    peft = probe(write(tmp_path / "a.safetensors", FOREIGN["lora (PEFT keys)"], license="mit"))
    assert (peft.facts["rank"], peft.facts["for"], peft.licence) == ("4", "SD 1.x", "mit")
    kohya = probe(write(tmp_path / "b.safetensors", FOREIGN["lora (kohya keys)"]))
    assert (kohya.facts["rank"], kohya.facts["for"]) == ("16", "SDXL")
    word = probe(write(tmp_path / "c.safetensors", FOREIGN["textual-inversion"]))
    assert (word.facts["vectors"], word.facts["width"], word.facts["for"]) == (2, 768, "SD 1.x")


def test_a_concept_folder_shows_header_stock_file_and_next_step(persona, concepts):
    code, out, _ = persona("inspect", concepts / "textual-inversion", "--keys")
    assert code == 0
    for text in (
        "textual-inversion",
        "<dog>",
        "word",
        "StableDiffusionPipeline",
        "licence",
        "learned_embeds",
        "0.word.",
    ):
        assert text in out
    assert "persona generate" in out


def test_json_holds_the_whole_header(persona, concepts):
    found = json.loads(persona("inspect", concepts / "lora", "--json")[1])
    assert found["kind"] == "concept"
    assert found["header"] == json.loads((concepts / "lora" / "concept.json").read_text())


def test_a_pipeline_folder_and_a_picture_folder_are_told_apart(base, pictures):
    assert probe(base).kind == "pipeline"
    found = probe(pictures)
    assert (found.kind, found.facts["pictures"], found.facts["sizes"]) == ("pictures", 3, "32x32")


def test_a_pickle_is_named_and_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    (tmp_path / "embedding.pt").write_bytes(pickle.dumps(Trap()))
    with zipfile.ZipFile(tmp_path / "model.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    assert probe(tmp_path / "embedding.pt").kind == probe(tmp_path / "model.ckpt").kind == "pickle"
    assert "safetensors" in probe(tmp_path / "model.ckpt").next_step
    assert not (tmp_path / "executed").exists()


def cut(data):
    return data[:-100]


def longer(data):
    return data + b"\0" * 10


def no_header(data):
    return b"not a header at all, only text"


def header_too_long(data):
    return (10**12).to_bytes(8, "little") + data[8:]


def header_is_no_json(data):
    return data[:8] + b"}" + data[9:]


def wrong_shape(data):
    return data.replace(b"[3,3]", b"[3,4]")


DAMAGE = (cut, longer, no_header, header_too_long, header_is_no_json, wrong_shape)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_one_clear_line_and_exit_code_2(persona, tmp_path, damage):
    path = write(tmp_path / "weights.safetensors", {"layer.weight": (3, 3), "other.weight": (20,)})
    path.write_bytes(damage(path.read_bytes()))
    code, out, err = persona("inspect", path)
    assert (code, out, len(err)) == (2, "", 1)
    assert "weights.safetensors" in err[0]


def test_a_concept_whose_tensors_were_swapped_is_damaged(concepts, tmp_path):
    for name in ("concept.json", "concept.safetensors"):
        (tmp_path / name).write_bytes((concepts / "lora" / name).read_bytes())
    other = (concepts / "textual-inversion" / "concept.safetensors").read_bytes()
    (tmp_path / "concept.safetensors").write_bytes(other)
    with pytest.raises(PersonaError, match="not those that concept.json describes"):
        probe(tmp_path)


@pytest.mark.parametrize("header", ["{", "[]", "{}", '{"schema_version": 1}'])
def test_a_header_that_is_none_is_named(tmp_path, header):
    (tmp_path / "concept.json").write_text(header)
    with pytest.raises(PersonaError, match="concept.json"):
        probe(tmp_path)


def test_a_damaged_picture_is_named_alone_and_counted_in_a_folder(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(PersonaError, match="cut.png"):
        probe(tmp_path / "cut.png")
    found = probe(tmp_path)
    assert (found.kind, found.facts["pictures"], found.facts["damaged"]) == ("pictures", 1, 1)
