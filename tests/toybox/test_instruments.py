"""The instruments of the toybox are right on real renderings: the pictures that ship with the held-out concepts."""

from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageFilter

torch = pytest.importorskip("torch")

from diffusers_persona import toybox  # noqa: E402
from diffusers_persona.errors import PersonaError  # noqa: E402
from diffusers_persona.toybox import instruments as package  # noqa: E402
from diffusers_persona.toybox.instruments import bars  # noqa: E402
from diffusers_persona.toybox.instruments.attributes import HEADS, NONE, targets  # noqa: E402
from diffusers_persona.toybox.instruments.geometry import FACE_SIDE, align_face, foreground  # noqa: E402
from diffusers_persona.toybox.vocabulary import UNSEEN_STYLES  # noqa: E402

VECTORS = {"clip_image": 128, "dino": 256, "face": 512}


@cache
def concepts():
    return toybox.concepts()


@cache
def references():
    """(concept, picture) of every shipped reference."""
    return [(concept, Image.open(path).convert("RGB")) for concept in concepts() for path in concept.references]


@cache
def oracles():
    """(concept, prompt, picture) of the oracles, the true renderings of ToyBench prompts, of one thing or style each,
    but for those in styles that the classifiers never saw."""
    known = [concept for concept in concepts() if not concept.things and concept.true_name not in UNSEEN_STYLES]
    return [
        (concept, prompt, Image.open(path).convert("RGB"))
        for concept in known
        for prompt, path in zip(toybox.prompts.for_kind(concept.kind), concept.oracle, strict=True)
    ]


@pytest.fixture(scope="module")
def tools():
    return package.load()


@pytest.fixture(scope="module")
def pictures():
    return [picture for _, picture in references()][:9]


# what every score keeps to


@pytest.mark.parametrize("name, width", VECTORS.items())
def test_vectors_have_unit_length(tools, pictures, name, width):
    vectors = getattr(tools, name)(pictures)
    assert vectors.shape == (len(pictures), width) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(pictures)))


def test_text_vectors_have_unit_length_even_of_unknown_words(tools):
    vectors = tools.clip_text(["a cat on the beach", "a dog in space", "words that no world has"])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("name", [*VECTORS, "mask"])
def test_a_score_does_not_depend_on_the_batch(tools, pictures, name):
    score = getattr(tools, name)
    alone = torch.cat([score([picture]) for picture in pictures[:3]])
    torch.testing.assert_close(score(pictures)[:3], alone, atol=2e-5, rtol=1e-4)


def test_the_same_pictures_get_the_same_scores(tools, pictures):
    assert torch.equal(tools.dino(pictures), tools.dino(pictures))


def test_attributes_are_probabilities_over_named_classes(tools, pictures):
    for head, (names, table) in tools.attributes(pictures).items():
        assert names == HEADS[head] and table.shape == (len(pictures), len(names))
        if head not in ("noun", "attribute"):
            torch.testing.assert_close(table.sum(1), torch.ones(len(pictures)))
    assert {"noun", "background", "colour", "style", "person"} <= set(tools.attributes(pictures))


@pytest.mark.parametrize(
    "change", [lambda p: p.convert("RGBA"), lambda p: p.resize((128, 128)), lambda p: p.convert("P")]
)
def test_any_mode_and_size_is_read(tools, pictures, change):
    same = (tools.dino([change(pictures[0])]) * tools.dino([pictures[0]])).sum()
    assert same > 0.9


def test_no_pictures_is_a_clear_error(tools):
    with pytest.raises(PersonaError, match="no pictures"):
        tools.dino([])


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(PersonaError, match="AttributeNetwork"):
        package.load(tmp_path).attributes([Image.new("RGB", (64, 64))])


# right on real pictures


def _agreement(found, wanted):
    pairs = [(a, b) for a, b in zip(found, wanted, strict=True) if b]
    return sum(a == b for a, b in pairs) / len(pairs)


@cache
def _read_oracles():
    scores = package.load().attributes([picture for *_, picture in oracles()])
    return {head: [names[i] for i in table.argmax(1).tolist()] for head, (names, table) in scores.items()}


def test_backgrounds_of_oracles_are_read(tools):
    wanted = [prompt.background if concept.true_name != "blueprint" else None for concept, prompt, _ in oracles()]
    assert _agreement(_read_oracles()["background"], wanted) >= bars.REQUIRED["background"]


def test_styles_of_oracles_are_read(tools):
    wanted = [concept.true_name if concept.kind == "style" else prompt.style for concept, prompt, _ in oracles()]
    assert _agreement(_read_oracles()["style"], wanted) >= bars.REQUIRED["style"]


def test_held_out_objects_are_named(tools):
    alone = [(concept, picture) for concept, picture in references() if concept.kind in ("object", "live")]
    names, table = tools.attributes([picture for _, picture in alone])["noun"]
    found = [names[i] for i in table.argmax(1).tolist()]
    assert _agreement(found, [concept.true_name for concept, _ in alone]) >= bars.REQUIRED["noun"]


def test_held_out_people_are_named(tools):
    people = [(concept, picture) for concept, picture in references() if concept.kind == "person"]
    names, table = tools.attributes([picture for _, picture in people])["person"]
    found = [names[i] for i in table.argmax(1).tolist()]
    assert _agreement(found, [concept.true_name for concept, _ in people]) >= bars.REQUIRED["person"]


def test_masks_cover_the_subjects(tools):
    alone = [concept for concept in concepts() if concept.kind in ("object", "live", "person")]
    found = tools.mask([Image.open(path) for concept in alone for path in concept.references]).numpy() > 0.5
    wanted = np.stack([np.asarray(Image.open(path).convert("L")) for concept in alone for path in concept.masks]) > 127
    assert ((found & wanted).sum((1, 2)) / (found | wanted).sum((1, 2))).mean() > 0.9


@pytest.mark.parametrize("name", ["dino", "clip_image"])
def test_references_of_a_concept_are_nearer_than_others_of_its_kind(tools, name):
    subjects = [
        (concept, picture) for concept, picture in references() if concept.kind in ("object", "live", "person")
    ]
    vectors = getattr(tools, name)(tools.foreground([picture for _, picture in subjects]))
    area = bars.separation(
        vectors, [concept.name for concept, _ in subjects], [concept.kind for concept, _ in subjects]
    )
    assert area >= (0.98 if name == "dino" else 0.9)


def test_faces_of_one_person_are_nearer_than_those_of_another(tools):
    people = [(concept.name, picture) for concept, picture in references() if concept.kind == "person"]
    vectors = tools.face([picture for _, picture in people])
    assert bars.separation(vectors, [name for name, _ in people], ["person"] * len(people)) >= 0.98


def test_a_blurred_picture_stays_the_same_subject(tools, pictures):
    soft = [picture.filter(ImageFilter.GaussianBlur(0.8)) for picture in pictures]
    assert (tools.dino(tools.foreground(soft)) * tools.dino(tools.foreground(pictures))).sum(1).mean() > 0.8


def test_captions_find_their_backgrounds(tools):
    picture = next(picture for _, prompt, picture in oracles() if prompt.background == "space" and not prompt.style)
    texts = tools.clip_text(["a photo in space", "a photo on the beach", "a photo on a purple background"])
    assert (tools.clip_image([picture]) @ texts.T).argmax() == 0


# what ships


def test_measured_bars_ship_and_say_what_was_missed(tools):
    described = tools.describe()
    report = described["bars"]
    assert set(described["models"]) == set(described["preprocessing"]) == set(package.MODELS)
    assert set(report["required"]) <= set(report["bars"])
    assert report["missed"] == sorted(n for n, least in report["required"].items() if report["bars"][n] < least)


def test_models_are_small():
    files = [path for name in package.MODELS for path in (package.FOLDER / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25e6
    assert {path.suffix for path in files} <= {".json", ".safetensors"}


def test_the_stock_processor_prepares_as_we_do(tools, pictures):
    from transformers import CLIPProcessor

    processor = CLIPProcessor.from_pretrained(package.FOLDER / "clip")
    pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels, package._to_pixels(pictures, True), atol=1e-5, rtol=0)


# the parts


def test_a_foreground_is_the_subject_on_gray_at_full_size():
    image, mask = Image.new("RGB", (64, 64), "blue"), Image.new("L", (64, 64))
    image.paste((255, 0, 0), (10, 20, 30, 40))
    mask.paste(255, (10, 20, 30, 40))
    pixels = np.asarray(foreground(image, mask))
    assert pixels.shape == (64, 64, 3)
    assert (pixels[32, 32] == (255, 0, 0)).all() and (pixels[0, 0] == 128).all()
    assert ((pixels == (255, 0, 0)).all(-1)).mean() > 0.6


def test_without_a_subject_the_whole_picture_is_judged():
    image = Image.new("RGB", (64, 64), "blue")
    assert np.array_equal(foreground(image, Image.new("L", (64, 64))), image)


def test_a_head_is_cut_at_the_same_place_however_big_the_person():
    sides = []
    for size in (62, 44):
        image, mask = Image.new("RGB", (64, 64), "white"), Image.new("L", (64, 64))
        box = (32 - size // 4, 64 - size, 32 + size // 4, 64)
        image.paste((200, 0, 0), box), mask.paste(255, box)
        crop = np.asarray(align_face(image, mask))
        assert crop.shape == (FACE_SIDE, FACE_SIDE, 3)
        sides.append(((crop[..., 1] < 100).any(0)).mean())
    assert sides[0] == pytest.approx(sides[1], abs=0.06)


def _label(**changes):
    empty = "noun second_noun relation colour size person word hair mouth eyes hat beard background style".split()
    return dict.fromkeys(empty) | {"background": "beach"} | changes


def test_targets_ask_only_what_a_picture_can_tell():
    outline = targets(_label(noun="cat", colour="red", background="blue", style="sketch"))
    assert outline["background"] is None and outline["colour"] is None and outline["style"] == "sketch"
    under = targets(_label(noun="cat", second_noun="dog", relation="under"))
    assert (under["relation"], under["first"], under["noun"]) == ("on top of", "dog", ["cat", "dog"])
    person = targets(_label(word="woman", person="Diana Evans", eyes="glasses", beard=False))
    assert person["person"] == "Diana Evans" and person["attribute"] == ["glasses"]
    assert targets(_label(noun="cat"))["person"] == NONE


def test_separation_is_an_area_under_the_curve():
    vectors = torch.eye(4)[[0, 0, 1, 1]]
    assert bars.separation(vectors, ["a", "a", "b", "b"], ["x"] * 4) == 1.0
    assert bars.separation(torch.ones(4, 1), ["a", "a", "b", "b"], ["x"] * 4) == 0.5
