"""Instruments of full size, on real model classes with random weights, from folders."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation.instruments import Instruments, Perceptual, Segmenter
from diffusers_persona.evaluation.transformers_instruments import (
    MaskingInstruments,
    Preprocessing,
    TransformersInstruments,
    _cut_out,
)
from diffusers_persona.testing import tiny_pictures, tokenizer

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of a CLIP model, a ViT (DINO's class) and a DINOv2 model."""
    from transformers import (
        CLIPConfig,
        CLIPModel,
        CLIPSegConfig,
        CLIPSegForImageSegmentation,
        Dinov2Config,
        Dinov2Model,
        ViTConfig,
        ViTModel,
    )

    words, home = tokenizer(), tmp_path_factory.mktemp("models")
    text = SMALL | {"vocab_size": len(words), "max_position_embeddings": 16, "eos_token_id": words.eos_token_id}
    config = CLIPConfig(text_config=text, vision_config=SMALL | {"image_size": 32, "patch_size": 8}, projection_dim=12)
    segmenter = CLIPSegConfig(
        text_config=text,
        vision_config=SMALL | {"image_size": 32, "patch_size": 8},
        projection_dim=12,
        reduce_dim=8,
        extract_layers=[0, 1],
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    vision = {"image_size": 28, "patch_size": 14} | {key: SMALL[key] for key in SMALL if key != "intermediate_size"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = {
            "clip": CLIPModel(config),
            "vit": ViTModel(ViTConfig(**vision | {"intermediate_size": 16}), add_pooling_layer=False),
            "dinov2": Dinov2Model(Dinov2Config(**vision)),
            "clipseg": CLIPSegForImageSegmentation(segmenter),
        }
    for name, model in models.items():
        model.save_pretrained(home / name)
    for name in ("clip", "clipseg"):
        words.save_pretrained(home / name)
    return {name: str(home / name) for name in models}


@pytest.fixture(params=["vit", "dinov2"])
def instruments(folders, request):
    return TransformersInstruments(folders["clip"], folders[request.param])


def test_they_are_instruments_with_feature_maps_and_without_masks(instruments):
    assert isinstance(instruments, Instruments) and isinstance(instruments, Perceptual)
    assert not isinstance(instruments, Segmenter)


def test_pictures_and_texts_have_one_width_and_do_not_depend_on_their_neighbours(instruments):
    pictures = tiny_pictures(3)
    together = instruments.clip_image(pictures)
    assert together.shape == (3, 12) and instruments.clip_text(["a cat", "a dog on a hill"]).shape == (2, 12)
    assert torch.allclose(together[1:2], instruments.clip_image(pictures[1:2]), atol=1e-5)
    assert torch.allclose(
        instruments.clip_text(["a cat", "a dog on a hill"])[:1], instruments.clip_text(["a cat"]), atol=1e-5
    )


def test_dino_is_the_class_token_after_the_last_norm(folders):
    from transformers import ViTModel

    instruments = TransformersInstruments(folders["clip"], folders["vit"])
    (picture,) = tiny_pictures(1)
    model = ViTModel.from_pretrained(folders["vit"], add_pooling_layer=False).eval()
    with torch.no_grad():
        expected = model(instruments._dino_input(picture)[None]).last_hidden_state[:, 0]
    assert torch.allclose(instruments.dino([picture]), expected, atol=1e-5)


def test_feature_maps_have_channels_before_places(instruments):
    maps = instruments.feature_maps(tiny_pictures(2))
    assert len(maps) == 2 and all(layer.shape[:2] == (2, 16) for layer in maps)


def test_models_and_preprocessing_are_told_in_words(instruments):
    assert "CLIPModel" in instruments.models["clip"] and "weights" in instruments.models["dino"]
    assert "shorter side to 32 (Pillow bicubic), centre crop 32" in instruments.preprocessing["clip"]
    assert "shorter side to 32 (Pillow bicubic), centre crop 28" in instruments.preprocessing["dino"]


def test_the_fingerprint_tells_models_apart(folders):
    fingerprints = {
        TransformersInstruments(folders["clip"], folders[name]).fingerprint() for name in ("vit", "dinov2", "vit")
    }
    assert len(fingerprints) == 2


@pytest.mark.parametrize("size", [(64, 64), (100, 40), (17, 300), (8, 8)])
def test_preprocessing_cuts_a_square_from_the_middle_of_any_picture(size):
    assert Preprocessing(28, 32, (0.5,) * 3, (0.5,) * 3)(Image.new("RGBA", size)).shape == (3, 28, 28)


def test_preprocessing_normalises_and_keeps_the_middle():
    pixels = np.zeros((32, 64, 3), dtype=np.uint8)
    pixels[:, 16:48] = 255
    tensor = Preprocessing(32, 32, (0.5,) * 3, (0.25,) * 3)(Image.fromarray(pixels))
    assert torch.all(tensor == 2.0)


@pytest.mark.parametrize(
    ("clip", "dino", "message"),
    [("vit", "vit", "--clip .*model type is 'vit'"), ("clip", "clip", "--dino .*model type is 'clip'")],
)
def test_a_model_of_another_type_is_refused_by_name(folders, clip, dino, message):
    instruments = TransformersInstruments(folders[clip], folders[dino])
    with pytest.raises(PersonaError, match=message):
        instruments.fingerprint()


def test_a_model_that_is_not_there_is_one_line(folders, tmp_path):
    with pytest.raises(PersonaError, match="--dino .*cannot be loaded") as raised:
        TransformersInstruments(folders["clip"], str(tmp_path)).dino(tiny_pictures(1))
    assert "\n" not in str(raised.value)


def test_a_segmenter_adds_masks_and_says_its_fill_rule(folders):
    instruments = MaskingInstruments(folders["clip"], folders["vit"], folders["clipseg"])
    assert isinstance(instruments, Segmenter)
    assert "CLIPSeg" in instruments.models["segmenter"] and "RGB (128, 128, 128)" in instruments.masking
    assert "to 32x32" in instruments.preprocessing["segmenter"]
    pictures = tiny_pictures(2)
    assert [picture.mode for picture in instruments.foreground(pictures, noun="dog")] == ["RGB", "RGB"]
    assert instruments.fingerprint() != TransformersInstruments(folders["clip"], folders["vit"]).fingerprint()


def test_a_mask_leaves_the_subject_in_a_square_of_grey():
    mask = torch.zeros(4, 4)
    mask[1:3, 1:2] = 1
    picture = _cut_out(Image.new("RGB", (8, 8), "red"), mask)
    colours = {colour: count for count, colour in picture.getcolors()}
    assert picture.size == (4, 4) and colours == {(255, 0, 0): 8, (128, 128, 128): 8}
    assert _cut_out(Image.new("RGB", (8, 8), "red"), torch.zeros(4, 4)).size == (8, 8)
