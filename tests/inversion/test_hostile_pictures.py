"""Whatever a folder holds, each picture is either used or refused by name in one line."""

import time
import warnings

import numpy as np
import pytest
from PIL import Image

from diffusers_persona.errors import PersonaError
from diffusers_persona.inversion.images import ImageSet, ImageWarning, load_images

from .hostile import ACCEPTED, REFUSED, picture, rotated, with_alpha


def load(source, **options) -> tuple[ImageSet, list[str]]:
    """The pictures and the warnings on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = load_images(source, **options)
    assert all(issubclass(warning.category, ImageWarning) for warning in caught), [str(w.message) for w in caught]
    return images, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_odd_but_sound_picture_becomes_rgb_with_at_most_one_line_of_warning(name, tmp_path):
    write, words = ACCEPTED[name]
    images, lines = load(write(tmp_path))
    (example,) = images
    assert example.image.mode == "RGB" and example.mask is None
    assert np.asarray(example.image).std() > 10 or name in ("8 px", "16-bit colour")
    if words is None:
        assert len(lines) <= 1
    else:
        (line,) = lines
        assert words in line and "\n" not in line
        assert images.notes == (line,)


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_picture_is_refused_by_name_in_one_line_with_the_next_step(name, tmp_path):
    write, words = REFUSED[name]
    path = write(tmp_path)
    with pytest.raises(PersonaError) as refusal:
        load_images([path])
    message = str(refusal.value)
    assert path.name in message and (words or "") in message
    assert "\n" not in message and len(message) < 500 + len(str(path))
    assert 'on_error="skip"' in message or "there is no such file" in message


def test_a_folder_of_all_of_them_yields_the_sound_ones_and_names_the_others(tmp_path, capsys):
    for write, _ in (*ACCEPTED.values(), *REFUSED.values()):
        write(tmp_path)
    images, lines = load(tmp_path, on_error="skip")
    assert len(images) == len(ACCEPTED)
    assert len(images.skipped) == len(REFUSED)
    assert len(lines) == len(images.notes) + len(images.skipped)
    assert [example.source for example in images] == sorted(example.source for example in images)
    with capsys.disabled():
        print(f"\nhostile pictures tried: {len(ACCEPTED) + len(REFUSED)} ({len(REFUSED)} of them refused)")


def test_random_damage_never_escapes_as_another_error(tmp_path):
    """150 pictures with a few bytes changed, from a fixed seed."""
    random = np.random.default_rng(0)
    sound = [write(tmp_path) for name, (write, _) in ACCEPTED.items() if name not in ("odd name", "panorama")]
    refused = 0
    for number in range(150):
        path = sound[number % len(sound)]
        content = np.frombuffer(path.read_bytes(), np.uint8).copy()
        places = random.integers(0, min(len(content), 400), 6)
        content[places] = random.integers(0, 256, 6)
        damaged = tmp_path / f"damaged{path.suffix}"
        damaged.write_bytes(content.tobytes())
        try:
            load(damaged)
        except PersonaError as refusal:
            refused += 1
            assert "\n" not in str(refusal) and damaged.name in str(refusal)
    assert 75 < refused < 150


def test_a_picture_keeps_its_colours_whatever_its_mode(tmp_path):
    expected = np.asarray(picture()).astype(int)
    for name in ("JPEG", "WebP", "BMP", "CMYK JPEG", "CMYK TIFF", "palette", "opaque alpha", "animated PNG"):
        found = np.asarray(load(ACCEPTED[name][0](tmp_path))[0][0].image).astype(int)
        assert np.abs(found - expected).mean() < 12, name


def test_sixteen_bits_and_floats_are_scaled_not_clipped(tmp_path):
    for name in ("16-bit grey", "floating point"):
        samples = np.asarray(load(ACCEPTED[name][0](tmp_path))[0][0].image)[..., 0].ravel().astype(int)
        assert np.abs(samples - np.linspace(0, 255, samples.size)).max() <= 1, name
    colour = load(ACCEPTED["16-bit colour"][0](tmp_path))[0][0].image.getpixel((3, 3))
    assert colour[0] == 255 and abs(colour[1] - 128) <= 1 and colour[2] == 0


def test_exif_orientation_is_applied(tmp_path):
    image = load(rotated(tmp_path))[0][0].image
    assert image.size == (32, 48)
    assert image.getpixel((16, 4))[0] > 150 and image.getpixel((16, 44))[2] > 150  # red, once left, is now on top


def test_transparency_is_white_and_can_serve_as_the_mask(tmp_path):
    path = with_alpha(tmp_path)
    plain = load(path)[0][0]
    assert plain.mask is None and plain.image.getpixel((2, 2)) == (255, 255, 255)
    images, lines = load(path, use_alpha_as_mask=True)
    assert lines == []
    assert images[0].mask.getpixel((2, 2)) == 0 and images[0].mask.getpixel((40, 2)) == 255


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    began = time.perf_counter()
    for name in ("decompression bomb", "30,000 px wide"):
        with pytest.raises(PersonaError, match="reduce the picture"):
            load_images(REFUSED[name][0](tmp_path))
    assert time.perf_counter() - began < 0.5


def test_a_picture_far_larger_than_learning_needs_is_reduced_at_once(tmp_path):
    picture((1600, 1200)).save(tmp_path / "large.jpg")
    picture((1600, 1200)).save(tmp_path / "large.png")
    images, _ = load(tmp_path, resolution=64)
    assert [example.image.size for example in images] == [(171, 128)] * 2


def test_the_callers_own_image_is_left_as_it_is(tmp_path):
    picture((800, 600)).save(tmp_path / "large.jpg")
    with Image.open(tmp_path / "large.jpg") as image:
        load([image], resolution=32)
        assert image.size == (800, 600)
