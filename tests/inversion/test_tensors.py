"""From arrays and pictures to tensors: ranges, shapes and crops."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffusers_persona.errors import PersonaError
from diffusers_persona.inversion.images import (
    Example,
    crop_box,
    example_to_tensors,
    load_images,
    to_tensor,
)

from .hostile import picture


@pytest.mark.parametrize("shape", [(48, 32), (32, 48), (8, 100), (64, 64)])
def test_a_picture_becomes_float32_channels_first_in_minus_one_to_one(shape):
    pixels = to_tensor(picture(shape), 32)
    assert pixels.shape == (3, 32, 32) and pixels.dtype == torch.float32 and pixels.is_contiguous()
    assert -1 <= pixels.min() < -0.5 and 0.5 < pixels.max() <= 1


def test_white_is_exactly_one_and_black_exactly_minus_one():
    assert torch.equal(to_tensor(Image.new("RGB", (50, 40), "white"), 16), torch.ones(3, 16, 16))
    assert torch.equal(to_tensor(Image.new("RGB", (50, 40), "black"), 16), -torch.ones(3, 16, 16))


def test_at_its_own_size_a_picture_is_unchanged():
    pixels = to_tensor(picture((32, 32)), 32)
    samples = ((pixels + 1) * 127.5).round().to(torch.uint8)
    assert np.array_equal(samples.permute(1, 2, 0).numpy(), np.asarray(picture((32, 32))))


def test_a_mask_becomes_one_channel_between_zero_and_one():
    image = Image.new("L", (40, 40))
    image.paste(255, (0, 0, 20, 40))
    mask = to_tensor(image, (10, 20))
    assert mask.shape == (1, 10, 20)
    assert torch.equal(mask, torch.cat([torch.ones(1, 10, 10), torch.zeros(1, 10, 10)], -1))


def test_the_centre_crop_keeps_the_largest_centred_box():
    assert crop_box((300, 100), 64) == (100, 0, 200, 100)
    assert crop_box((300, 100), (32, 64)) == (50, 0, 250, 100)
    assert crop_box((90, 100), (64, 64)) == (0, 5, 90, 95)


def test_a_crop_begins_on_a_whole_pixel():
    assert crop_box((65, 64), 64) == (0, 0, 64, 64)
    assert crop_box((67, 64), 32) == (1, 0, 65, 64)


def test_random_crops_follow_their_generator_alone_and_stay_inside():
    def boxes(seed):
        generator = torch.Generator().manual_seed(seed)
        return [crop_box((333, 100), 64, "random", generator) for _ in range(50)]

    torch.manual_seed(1)
    first = boxes(0)
    torch.manual_seed(2)
    assert boxes(0) == first != boxes(1)
    assert all(0 <= left and right <= 333 for left, _, right, _ in first)
    assert len({round(left / 40) for left, *_ in first}) > 3


def test_picture_and_mask_are_cut_by_the_same_box():
    image = Image.new("RGB", (90, 30), "black")
    image.paste("white", (40, 0, 50, 30))
    mask = image.convert("L")
    example = Example(image=image, mask=mask)
    for seed in range(10):
        pixels, cut = example_to_tensors(example, 30, "random", generator=torch.Generator().manual_seed(seed))
        assert torch.equal((pixels[:1] + 1) / 2, cut)
    assert example_to_tensors(Example(image=image), 30)[1] is None


def test_a_panorama_of_30000_px_needs_no_large_intermediate():
    assert to_tensor(picture((30_000, 20)), 64).shape == (3, 64, 64)


def test_an_unknown_crop_is_refused():
    with pytest.raises(PersonaError, match="crop is"):
        to_tensor(picture(), 32, "corner")


@pytest.mark.parametrize(
    "array",
    [
        np.asarray(picture()),
        np.asarray(picture()).astype(np.float32) / 255,
        np.asarray(picture()).astype(np.uint16) * 257,
        torch.from_numpy(np.array(picture())),
        np.dstack([np.asarray(picture()), np.full((32, 48), 255, np.uint8)]),
    ],
    ids=["uint8", "float", "uint16", "torch", "RGBA"],
)
def test_arrays_are_pictures(array):
    assert np.array_equal(np.asarray(load_images([array])[0].image), np.asarray(picture()))
    assert load_images(array)[0].source == "picture 1"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (np.zeros((3, 32, 48), np.uint8), r"shape \(3, 32, 48\)"),
        (np.zeros((32, 48, 3), np.int64), "int64"),
        (np.full((32, 48, 3), -0.5), "outside of 0..1"),
        (np.full((32, 48), np.nan), "outside of 0..1"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (3, "shape"),
        (None, "picture 1"),
        ({"a": 1}, "picture 1"),
    ],
)
def test_arrays_of_another_make_are_refused_with_the_expected_one(item, words):
    with pytest.raises(PersonaError, match=words):
        load_images([item])


def test_a_loaded_set_passes_through():
    images = load_images([picture()])
    assert load_images(images) is images
    assert len(images) == 1 and next(iter(images)) is images[0]
    with pytest.raises(PersonaError, match="ImageSet already"):
        load_images(images, captions=["a"])
