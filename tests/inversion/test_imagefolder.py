"""Folders in the ``imagefolder`` convention: captions, masks, and every way in which they can go wrong."""

import json

import numpy as np
import pytest
from PIL import Image

from diffusers_persona.errors import PersonaError
from diffusers_persona.inversion.images import ImageWarning, load_images

from .hostile import picture


@pytest.fixture
def folder(tmp_path):
    """a.png, b.png and c.png, all different."""
    for number, name in enumerate("abc"):
        picture((48, 32 + number)).save(tmp_path / f"{name}.png")
    return tmp_path


def mask(size=(48, 32)) -> Image.Image:
    image = Image.new("L", size)
    image.paste(255, (0, 0, size[0] // 2, size[1]))
    return image


def write_jsonl(folder, *rows):
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


def captions(images) -> list:
    return [example.caption for example in images]


def test_pictures_come_in_the_order_of_their_names(folder):
    images = load_images(folder)
    assert [example.source for example in images] == [str(folder / f"{name}.png") for name in "abc"]
    assert not images.has_masks and not images.has_captions


def test_captions_stand_in_metadata_jsonl(folder):
    write_jsonl(folder, *({"file_name": f"{name}.png", "text": f"a photo of {name}"} for name in "abc"))
    images = load_images(folder)
    assert captions(images) == ["a photo of a", "a photo of b", "a photo of c"]
    assert images.has_captions


def test_captions_and_masks_stand_in_metadata_csv(folder):
    (folder / "cut").mkdir()
    mask().save(folder / "cut" / "one.png")
    (folder / "metadata.csv").write_text(
        '\ufefffile_name,text,mask\na.png,"a cat, asleep",cut/one.png\nb.png,,\nc.png,c,\n'
    )
    images = load_images(folder)
    assert captions(images) == ["a cat, asleep", None, "c"]
    assert [example.mask is not None for example in images] == [True, False, False]


def test_captions_and_masks_may_lie_beside_the_pictures(folder):
    (folder / "a.txt").write_text("a photo\nof a\n")
    (folder / "masks").mkdir()
    mask().save(folder / "masks" / "a.png")
    images = load_images(folder)
    assert captions(images) == ["a photo of a", None, None]
    assert images[0].mask.mode == "L" and images[0].mask.getpixel((2, 2)) == 255 and images.has_masks


def test_metadata_goes_before_text_files_and_arguments_before_both(folder):
    (folder / "a.txt").write_text("from the text file")
    (folder / "b.txt").write_text("from the text file")
    write_jsonl(
        folder, *({"file_name": f"{name}.png", "text": "from the metadata"} for name in "ac"), {"file_name": "b.png"}
    )
    assert captions(load_images(folder)) == ["from the metadata", "from the text file", "from the metadata"]
    assert captions(load_images(folder, captions={"c.png": "given"}))[2] == "given"
    assert captions(load_images(folder, captions=["x", None, "z"])) == ["x", "from the text file", "z"]


def test_metadata_may_name_pictures_in_sub_folders(tmp_path):
    (tmp_path / "train").mkdir()
    picture().save(tmp_path / "train" / "a.png")
    write_jsonl(tmp_path, {"file_name": "train/a.png", "text": "a"})
    assert captions(load_images(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "line|can't be read"),
        ('["a.png"]', "line 1 is not an object"),
        ('{"text": "a"}', "no file_name"),
        ('{"file_name": 3}', "no file_name"),
        ('{"file_name": "../a.png"}', "outside of the folder"),
        ('{"file_name": "/etc/passwd"}', "outside of the folder"),
        ('{"file_name": "C:\\\\a.png"}', "outside of the folder"),
        ('{"file_name": "a.png", "mask": "../../a.png"}', "outside of the folder"),
        ('{"file_name": "a.png", "text": ["a"]}', "a text is due"),
        ('{"file_name": "a.png"}\n{"file_name": "a.png"}', "a second time"),
        ('{"file_name": "missing.png"}', "no such file"),
        ('{"file_name": ' + "[" * 20000, "can't be read"),
        ("\x00\x01\udcff", "can't be read"),
    ],
)
def test_malformed_metadata_is_refused_by_file_and_line(folder, content, words):
    (folder / "metadata.jsonl").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(PersonaError, match=words) as refusal:
        load_images(folder)
    assert "\n" not in str(refusal.value)


def test_two_metadata_files_are_refused(folder):
    write_jsonl(folder, {"file_name": "a.png"})
    (folder / "metadata.csv").write_text("file_name,text\na.png,a\n")
    with pytest.raises(PersonaError, match="both"):
        load_images(folder)


def test_nothing_is_left_out_in_silence(folder):
    (folder / "a.png.txt").write_text("a caption under a wrong name")
    (folder / "notes.docx").write_bytes(b"PK\x03\x04")
    (folder / "masks").mkdir()
    mask().save(folder / "masks" / "dog.png")
    (folder / "README.txt").write_text("about this folder")
    with pytest.warns(ImageWarning) as caught:
        load_images(folder)
    lines = "\n".join(str(warning.message) for warning in caught)
    assert len(caught) == 3
    assert "a.png.txt is a caption of no picture" in lines
    assert "dog.png is a mask of no picture" in lines
    assert "notes.docx is no picture" in lines


def test_a_picture_outside_of_the_metadata_is_used_and_named(folder):
    write_jsonl(folder, {"file_name": "a.png", "text": "a"}, {"file_name": "b.png", "text": "b"})
    with pytest.warns(ImageWarning, match="c.png is not in the metadata"):
        assert len(load_images(folder)) == 3


def test_a_mask_of_another_size_is_refused_with_both_sizes(folder):
    with pytest.raises(PersonaError, match="mask is 32 x 48 px but its picture .*a.png 48 x 32 px"):
        load_images(folder / "a.png", masks=[mask((32, 48))])


def test_a_black_mask_is_refused(folder):
    with pytest.raises(PersonaError, match="black everywhere"):
        load_images(folder / "a.png", masks=[Image.new("L", (48, 32))])


@pytest.mark.parametrize(
    "labels",
    [
        np.asarray(mask()) > 0,
        (np.asarray(mask()) > 0).astype(np.uint8),
        (np.asarray(mask()) > 0).astype(np.float32),
        mask().convert("1"),
        mask().convert("RGB"),
    ],
    ids=["bool", "0 and 1", "float", "bits", "RGB"],
)
@pytest.mark.filterwarnings("ignore:.*read as labels")
def test_masks_of_every_kind_are_black_and_white(folder, labels):
    example = load_images([Image.open(folder / "a.png")], masks=[labels])[0]
    assert np.array_equal(np.asarray(example.mask), np.asarray(mask()))


def test_a_mask_shrinks_with_its_picture(tmp_path):
    picture((640, 480)).save(tmp_path / "large.jpg")
    example = load_images(tmp_path, masks=[mask((640, 480))], resolution=64)[0]
    assert example.mask.size == example.image.size == (171, 128)


def test_a_folder_of_masks_must_have_one_for_every_picture(folder, tmp_path_factory):
    masks = tmp_path_factory.mktemp("masks")
    mask().save(masks / "a.png")
    assert load_images(folder / "a.png", masks=masks).has_masks
    with pytest.raises(PersonaError, match="no mask for .*b.png"):
        load_images(folder, masks=masks)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"masks": [None]}, "1 masks for 3 pictures"),
        ({"captions": ["a"]}, "1 captions for 3 pictures"),
        ({"captions": "a"}, "one text for 3 pictures"),
        ({"captions": {"d.png": "d"}}, "d.png, which is no picture"),
        ({"on_error": "ignore"}, "on_error"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(folder, options, words):
    with pytest.raises(PersonaError, match=words):
        load_images(folder, **options)


def test_the_same_picture_twice_is_noted(folder):
    with pytest.warns(ImageWarning, match="the same picture as"):
        images = load_images([folder / "a.png", folder / "b.png", folder / "a.png"])
    assert len(images) == 3


def test_a_picture_below_the_resolution_is_noted(folder):
    with pytest.warns(ImageWarning, match="enlarged 2.0 times to 64 px"):
        load_images(folder / "a.png", resolution=64)


def test_a_set_without_pictures_is_one_clear_error(tmp_path, folder):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PersonaError, match="holds no picture .*put 3 to 5 pictures there"):
        load_images(empty)
    (empty / "train").mkdir()
    with pytest.raises(PersonaError, match="sub-folders are train"):
        load_images(empty)
    with pytest.raises(PersonaError, match="no such file or folder"):
        load_images(tmp_path / "nowhere")
    with pytest.raises(PersonaError, match="list of pictures is empty"):
        load_images([])
    with pytest.raises(PersonaError, match="web address"):
        load_images("https://example.org/cat.png")
    (empty / "bad.png").write_bytes(b"bad")
    with pytest.raises(PersonaError, match="no readable picture among 1"):
        load_images(empty, on_error="skip")
