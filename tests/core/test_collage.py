"""Seg-Mix (MuDI): cut-out things side by side on white."""

import pytest
import torch

from diffusers_persona.functional.collage import cut_out, fitted, paste
from diffusers_persona.inversion.collage import SegMix

SIDE = 16
RED = torch.zeros(3, SIDE, SIDE)
LEFT, RIGHT = torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)
LEFT[4:8, 2:6], RIGHT[8:14, 9:15] = 1, 1
MASKS = torch.stack([LEFT + RIGHT, LEFT, RIGHT])


def mix(**options):
    return SegMix(p=1.0, **options).among([(RED, MASKS, None)], ["sks cat", "ktn dog"])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.evidence(level="parity", recipe="mudi")
def test_a_piece_is_the_smallest_box_of_its_mask():
    pixels = torch.arange(3.0 * SIDE * SIDE).view(3, SIDE, SIDE)
    piece, mask = cut_out(pixels, LEFT)
    assert torch.equal(piece, pixels[:, 4:8, 2:6])
    assert mask.all()


@pytest.mark.evidence(level="parity", recipe="mudi")
def test_a_pasted_piece_covers_the_canvas_where_its_mask_is():
    canvas, place = paste(
        torch.ones(3, 4, 4), torch.full((3, 2, 2), -1.0), torch.tensor([[1.0, 0.0], [0.5, 1.0]]), 1, 2
    )
    assert canvas[0, 1:3, 2:].tolist() == [[-1.0, 1.0], [0.0, -1.0]]
    assert canvas.sum() == 3 * (16 - 2 - 2 - 1)
    assert place.sum() == 2.5


def test_a_piece_keeps_its_aspect_and_fits():
    assert fitted((4, 8), (16, 16), 1.0) == (8, 16)
    assert fitted((4, 8), (16, 16), 0.5) == (4, 8)


@pytest.mark.evidence(level="parity", recipe="mudi")
@pytest.mark.parametrize("seed", range(4))
def test_a_collage_shows_each_thing_once_on_white(seed):
    pixels, masks, prompt = mix().apply(RED, MASKS, "a photo of a sks cat and ktn dog", seeded(seed))
    assert masks.shape == (3, SIDE, SIDE)
    assert torch.equal(masks[0], masks[1:].amax(0))
    assert (masks[1] * masks[2]).max() < 1e-6 or (masks[1] + masks[2]).max() <= 1 + 1e-6
    assert masks[1].sum() > 4 and masks[2].sum() > 4
    assert torch.allclose(pixels[:, masks[0] == 0], torch.tensor(1.0))
    assert prompt in {
        "a photo of a sks cat and a ktn dog, simple background",
        "a photo of a ktn dog and a sks cat, simple background",
    }
    assert prompt in mix().prompts("a photo")


def test_the_things_lie_in_different_halves():
    _, masks, _ = mix(overlap=0.0).apply(RED, MASKS, "", seeded())
    columns = [(masks[n] > 0.5).any(0).nonzero().flatten() for n in (1, 2)]
    assert columns[0].max() < SIDE // 2 <= columns[1].min() or columns[1].max() < SIDE // 2 <= columns[0].min()


def test_some_pictures_stay_as_they_are():
    step = SegMix(p=0.0).among([(RED, MASKS, None)], ["a", "b"])
    assert step.apply(RED, MASKS, "a photo", seeded()) == (RED, MASKS, "a photo")


def test_one_thing_and_a_picture_without_a_mask_are_pasted_whole():
    pixels, masks, prompt = (
        SegMix(p=1.0, smallest=1.0).among([(RED, None, None)], ["sks dog"]).apply(RED, None, "", seeded())
    )
    assert torch.equal(pixels, RED)
    assert masks.shape == (1, SIDE, SIDE)
    assert prompt == "a photo of a sks dog, simple background"


def test_latents_of_a_collage_begin_a_picture(pipe):
    from PIL import Image

    from diffusers_persona import schemes

    picture, mask = Image.new("RGB", (32, 32), "red"), Image.new("L", (32, 32), 255)
    boxes = [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)]
    made = {
        gamma: schemes.collage_start(
            pipe, [picture] * 2, [mask] * 2, boxes, gamma=gamma, generator=seeded(), resolution=32
        )
        for gamma in (0.0, 1.0)
    }
    assert torch.equal(made[0.0], torch.randn(made[0.0].shape, generator=seeded()))
    assert not torch.equal(made[1.0], made[0.0])
    pipe("a photo", latents=made[1.0], num_inference_steps=1, height=32, width=32)


def test_things_with_pictures_of_their_own_are_cut_out_of_these():
    """The first picture shows the cat alone and the second the dog: each keeps its colour."""
    cat, dog = torch.zeros(3, SIDE, SIDE), torch.full((3, SIDE, SIDE), -1.0)
    step = SegMix(p=1.0, overlap=0.0).among([(cat, LEFT[None], 0), (dog, RIGHT[None], 1)], ["sks cat", "ktn dog"])
    pixels, masks, _ = step.apply(cat, LEFT[None], "", seeded())
    assert torch.allclose(pixels[:, masks[1] == 1], torch.tensor(0.0))
    assert torch.allclose(pixels[:, masks[2] == 1], torch.tensor(-1.0))


@pytest.mark.evidence(level="parity", recipe="mudi")
def test_subjects_are_learned_from_pictures_of_their_own(pipe):
    from PIL import Image

    from diffusers_persona import learn
    from diffusers_persona.testing import tiny_pictures

    pictures = {"cat": tiny_pictures(2), "dog": tiny_pictures(2, seed=1)}
    masks = {noun: [Image.new("L", (32, 32), 255)] * 2 for noun in pictures}
    options = dict(noun="cat and dog", masks=masks, rank=2, steps=2, batch_size=2, prior_weight=0.0, mix=0.5)
    concept = learn(pipe, pictures, "mudi", progress=False, **options)
    assert concept.phrase == "sks cat and ktn dog"


def test_a_picture_of_one_thing_is_learned_by_its_phrase():
    from PIL import Image

    from diffusers_persona.inversion.images import Example
    from diffusers_persona.inversion.prompts import Shown

    example = Example(image=Image.new("RGB", (8, 8)), part=1)
    assert Shown("a photo of a {phrase}").pick("object", "sks cat and ktn dog", example) == "a photo of a ktn dog"
    assert Shown().pick("object", "sks cat and ktn dog") == "a sks cat and ktn dog"
