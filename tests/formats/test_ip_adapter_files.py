"""Image and face adapters are named with their facts, and refused as concepts in one line."""

import pytest
import torch

from diffusers_persona import Concept, PersonaError
from diffusers_persona.formats.contents import Contents
from diffusers_persona.formats.probe import probe
from diffusers_persona.formats.registry import formats


def attention(text, hidden=320, first=1):
    return {f"ip_adapter.{first}.{part}.weight": torch.empty(hidden, text) for part in ("to_k_ip", "to_v_ip")}


def plain(text, width, tokens=4):
    return {"image_proj.proj.weight": torch.empty(tokens * text, width), "image_proj.norm.weight": torch.empty(text)}


def resampler(text, width, tokens=16):
    return {
        "image_proj.latents": torch.empty(1, tokens, 768),
        "image_proj.proj_in.weight": torch.empty(768, width),
        "image_proj.proj_out.weight": torch.empty(text, 768),
    }


def face(text, tokens=4):
    return {
        "image_proj.proj.0.weight": torch.empty(1024, 512),
        "image_proj.proj.2.weight": torch.empty(tokens * text, 1024),
        "image_proj.norm.weight": torch.empty(text),
    }


LORA = {
    "ip_adapter.0.to_q_lora.down.weight": torch.empty(128, 320),
    "ip_adapter.0.to_q_lora.up.weight": torch.empty(320, 128),
}

RELEASES = {  # keys of a release -> words of its title, its facts
    "sd15": (plain(768, 1024) | attention(768), "IP-Adapter", dict(tokens=4, width=1024, base="SD 1.x")),
    "sdxl": (plain(2048, 1280) | attention(2048), "IP-Adapter SDXL", dict(tokens=4, width=1280, base="SDXL")),
    "plus": (resampler(768, 1280) | attention(768), "Plus Face", dict(tokens=16, width=1280, base="SD 1.x")),
    "plus sdxl": (resampler(2048, 1280) | attention(2048), "Plus", dict(tokens=16, width=1280, base="SDXL")),
    "full face": (
        {"image_proj.proj.0.weight": torch.empty(1280, 1280), "image_proj.proj.3.weight": torch.empty(768)}
        | attention(768),
        "Full Face",
        dict(tokens=257, width=1280, base="SD 1.x"),
    ),
    "faceid": (face(768) | attention(768) | LORA, "FaceID", dict(tokens=4, width=512, base="SD 1.x")),
    "faceid portrait": (face(768, 16) | attention(768), "FaceID", dict(tokens=16, width=512, base="SD 1.x")),
    "faceid plus v2": (
        face(768) | {"image_proj.perceiver_resampler.proj_in.weight": torch.empty(768, 1280)} | attention(768) | LORA,
        "FaceID Plus",
        dict(tokens=4, width=512, base="SD 1.x"),
    ),
    "flux of xlabs": (
        {
            "ip_adapter_proj_model.proj.weight": torch.empty(4 * 4096, 768),
            "ip_adapter_proj_model.norm.weight": torch.empty(4096),
            "double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight": torch.empty(3072, 4096),
        },
        "FLUX (XLabs)",
        dict(tokens=4, width=768, base="FLUX"),
    ),
    "flux of instantx": (
        {
            "image_proj.proj.0.weight": torch.empty(2304, 1152),
            "image_proj.proj.2.weight": torch.empty(128 * 4096, 2304, device="meta"),
            "image_proj.norm.weight": torch.empty(4096),
        }
        | attention(4096, 3072, 0),
        "FLUX (InstantX)",
        dict(tokens=128, width=1152, base="FLUX"),
    ),
    "sd3": (
        resampler(2432, 1152, 64)
        | {"image_proj.time_embedding.linear_1.weight": torch.empty(8, 8)}
        | {"ip_adapter.0.norm_ip.linear.weight": torch.empty(8, 8)}
        | attention(2432, 2432, 0),
        "SD 3",
        dict(tokens=64, width=1152, base="SD 3.5"),
    ),
    "instantid": (resampler(2048, 512) | attention(2048), "InstantID", dict(tokens=16, width=512, base="SDXL")),
    "pulid": (
        {"id_adapter.body.0.weight": torch.empty(4, 4), "id_adapter_attn_layers.1.id_to_k.weight": torch.empty(4, 4)},
        "PuLID",
        dict(tokens=None, width=512, base="SDXL"),
    ),
    "pulid flux": (
        {"pulid_encoder.body.0.weight": torch.empty(4, 4), "pulid_ca.0.to_q.weight": torch.empty(4, 4)},
        "PuLID",
        dict(tokens=None, width=512, base="FLUX"),
    ),
    "photomaker": (
        {
            "id_encoder.visual_projection_2.weight": torch.empty(1280, 1024),
            "lora_weights.unet.conv_in.lora.down.weight": torch.empty(4, 4),
            "lora_weights.unet.conv_in.lora.up.weight": torch.empty(4, 4),
        },
        "PhotoMaker",
        dict(tokens=1, width=None, base="SDXL"),
    ),
    "photomaker v2": (
        {
            "id_encoder.visual_projection_2.weight": torch.empty(1280, 1024),
            "id_encoder.qformer_perceiver.token_norm.weight": torch.empty(4),
        },
        "PhotoMaker",
        dict(tokens=2, width=None, base="SDXL"),
    ),
}


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_is_told_by_its_keys_and_shapes(release):
    content, title, expected = RELEASES[release]
    contents = Contents.of(content)
    found = next(each for each in formats() if each.recognise(contents))
    facts = found.facts(contents)
    assert title in found.title and found.load is None
    assert expected == {"tokens": facts.get("tokens"), "width": facts.get("encoder width"), "base": facts.get("for")}


@pytest.mark.parametrize("nested", [False, True])
def test_the_file_on_disk_is_named_and_refused_in_one_line(nested, tmp_path):
    content = {key: torch.zeros_like(value) for key, value in RELEASES["faceid"][0].items()}
    tree: dict = {"image_proj": {}, "ip_adapter": {}}
    for key, value in content.items():
        part, _, name = key.partition(".")
        tree[part][name] = value
    path = tmp_path / "face.bin"
    torch.save(tree if nested else content, path)
    assert "FaceID" in probe(path).title
    with pytest.raises(PersonaError, match="an adapter for any picture, not a concept") as error:
        Concept.from_file(path)
    assert "\n" not in str(error.value)
