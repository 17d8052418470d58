"""Augmentations: what they do to pixels, mask and prompt, and that a generator alone decides."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusers_persona.errors import PersonaError
from diffusers_persona.inversion.augmentation import Chain, HorizontalFlip, RandomCrop, ResizeWithCaption
from diffusers_persona.inversion.images import to_tensor

from .hostile import picture

ALL = [
    HorizontalFlip(),
    RandomCrop(),
    ResizeWithCaption(),
    Chain(),
    Chain(steps=(HorizontalFlip(), ResizeWithCaption())),
    Chain(steps=(HorizontalFlip(), HorizontalFlip(p=0.2))),
]
PIXELS = to_tensor(picture(), 64)
MASK = torch.zeros(1, 64, 64)
MASK[:, 16:48, 16:48] = 1
PROMPT = "photo of a <toy> dog"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same(first, second):
    return all(
        a == b if isinstance(a, str) or a is None or b is None else torch.equal(a, b)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_shapes_ranges_and_prompts_are_kept_and_inputs_left_alone(augmentation, mask):
    before, source = (PIXELS.clone(), MASK.clone()), generator()
    listed = augmentation.prompts(PROMPT)
    for _ in range(40):
        pixels, changed, prompt = augmentation.apply(PIXELS, mask, PROMPT, source)
        assert pixels.shape == PIXELS.shape and pixels.dtype == torch.float32
        assert -1 <= pixels.min() and pixels.max() <= 1
        assert prompt in listed
        if changed is not None:
            assert changed.shape == (1, 64, 64) and 0 <= changed.min() and 0 < changed.max() <= 1
    assert torch.equal(PIXELS, before[0]) and torch.equal(MASK, before[1])


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_the_generator_alone_decides(augmentation):
    def outcomes(seed):
        source = generator(seed)
        return [augmentation.apply(PIXELS, MASK, PROMPT, source) for _ in range(12)]

    torch.manual_seed(1)
    first = outcomes(3)
    torch.manual_seed(2)
    assert all(same(a, b) for a, b in zip(first, outcomes(3), strict=True))
    if augmentation != Chain():
        assert not all(same(a, b) for a, b in zip(first, outcomes(4), strict=True))


@pytest.mark.parametrize("augmentation", [case for case in ALL if case.is_static], ids=repr)
def test_cached_variants_equal_the_steps_they_stand_for(augmentation):
    variants = augmentation.variants(PIXELS, MASK, PROMPT)
    assert len(variants) == augmentation.variant_count
    live, cached, seen = generator(), generator(), set()
    for _ in range(40):
        number = augmentation.choose(cached)
        seen.add(number)
        assert same(augmentation.apply(PIXELS, MASK, PROMPT, live), variants[number])
    assert seen == set(range(len(variants)))


def test_a_moving_augmentation_has_no_variants_to_cache():
    chain = Chain(steps=(HorizontalFlip(), RandomCrop()))
    assert not chain.is_static and not ResizeWithCaption().is_static and Chain().is_static
    with pytest.raises(PersonaError, match="RandomCrop has no fixed variants"):
        chain.variants(PIXELS, None, PROMPT)


def test_a_flip_mirrors_picture_and_mask_at_its_rate():
    pixels, mask, _ = HorizontalFlip(p=1).apply(PIXELS, MASK, PROMPT, generator())
    assert torch.equal(pixels, PIXELS.flip(-1)) and torch.equal(mask, MASK.flip(-1))
    source = generator()
    rate = sum(HorizontalFlip(p=0.2).choose(source) for _ in range(2000)) / 2000
    assert abs(rate - 0.2) < 0.03


def test_a_random_crop_keeps_the_masked_concept_in_view():
    corner = torch.zeros(1, 64, 64)
    corner[:, :3, :3] = 1
    source = generator()
    for _ in range(60):
        pixels, mask, _ = RandomCrop(smallest=0.3).apply(PIXELS, corner, PROMPT, source)
        assert mask.max() > 0
        assert torch.equal(mask, corner) == torch.equal(pixels, PIXELS)


def shrunk(factor, size=64, mask=None, seed=0, **options):
    resize = ResizeWithCaption(shrink_probability=1, shrink=(factor, factor), **options)
    pixels = torch.ones(3, size, size)
    return resize.apply(pixels, mask, PROMPT, generator(seed))


def test_a_shrunk_picture_lies_on_grey_and_the_mask_covers_only_its_inside():
    for seed in range(20):
        pixels, mask, _ = shrunk(0.5, seed=seed, margin=4)
        assert (pixels[0] != 0).sum() == 32 * 32
        assert mask.sum() == (32 - 2 * 4) ** 2
        assert (pixels[:, mask[0] > 0] == 1).all()


def test_the_shrunk_picture_is_the_picture():
    pixels, _, _ = ResizeWithCaption(shrink_probability=1, shrink=(0.5, 0.5)).apply(PIXELS, None, PROMPT, generator())
    rows, columns = (pixels.abs().sum(0) > 0).nonzero(as_tuple=True)
    part = pixels[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert part.shape == (3, 32, 32)
    assert (part - to_tensor(picture(), 32)).abs().mean() < 0.05


@given(factor=st.floats(0.06, 1), size=st.integers(16, 96), margin=st.integers(0, 64), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_however_small_the_picture_a_valid_region_is_left(factor, size, margin, seed):
    pixels, mask, _ = shrunk(factor, size=size, seed=seed, margin=margin)
    assert mask.sum() >= 1
    assert pixels[:, mask[0] > 0].min() > 0.999


def test_a_given_mask_shrinks_with_the_picture():
    mask = shrunk(0.5, mask=MASK, margin=0)[1]
    assert mask.sum().item() == pytest.approx(MASK.sum().item() / 4, rel=0.05)


def test_an_enlarged_picture_fills_the_canvas_and_all_of_it_counts():
    resize = ResizeWithCaption(shrink_probability=0)
    for seed in range(10):
        pixels, mask, _ = resize.apply(torch.ones(3, 64, 48), None, PROMPT, generator(seed))
        assert torch.allclose(pixels, torch.ones(3, 64, 48)) and torch.equal(mask, torch.ones(1, 64, 48))


@pytest.mark.parametrize(
    ("options", "prompts"),
    [
        ({"shrink": (0.4, 0.4)}, {"a far away photo of a <toy> dog", "very small photo of a <toy> dog"}),
        ({"shrink": (0.59, 0.59)}, {"a far away photo of a <toy> dog", "very small photo of a <toy> dog"}),
        ({"shrink": (0.61, 0.61)}, {PROMPT}),
        ({"shrink": (1, 1)}, {PROMPT}),
        ({"shrink_probability": 0}, {"zoomed in photo of a <toy> dog", "close up photo of a <toy> dog"}),
    ],
)
def test_the_prompt_tells_the_size(options, prompts):
    resize, source = ResizeWithCaption(**{"shrink_probability": 1} | options), generator()
    assert {resize.apply(PIXELS, None, PROMPT, source)[2] for _ in range(40)} == prompts


def test_an_article_gives_way_to_the_words_and_the_words_can_be_chosen():
    resize = ResizeWithCaption(shrink_probability=1, shrink=(0.4, 0.4), small_words=["a small"])
    assert resize.apply(PIXELS, None, "a <toy> on the beach", generator())[2] == "a small <toy> on the beach"
    assert resize.prompts("a <toy>") == ["a <toy>", "a small <toy>", "zoomed in <toy>", "close up <toy>"]
    assert resize.prompts("a")[1] == "a small a"


def test_factors_and_rate_are_those_of_custom_diffusion():
    source, sizes = generator(), []
    for _ in range(1500):
        pixels, mask, prompt = ResizeWithCaption(margin=0).apply(torch.ones(3, 96, 96), None, PROMPT, source)
        enlarged = prompt.startswith(("zoomed", "close"))
        sizes.append(None if enlarged else math.sqrt(mask.sum().item()))
    small = [size for size in sizes if size is not None]
    assert abs(len(small) / len(sizes) - 0.66) < 0.04
    assert 32 <= min(small) < 36 and 92 < max(small) <= 96


@pytest.mark.parametrize(
    "declare",
    [
        lambda: HorizontalFlip(p=1.5),
        lambda: RandomCrop(smallest=0),
        lambda: ResizeWithCaption(shrink=(0.5, 1.5)),
        lambda: ResizeWithCaption(shrink=(0.9, 0.5)),
        lambda: ResizeWithCaption(enlarge=(0.9, 1.4)),
        lambda: ResizeWithCaption(margin=-1),
    ],
)
def test_numbers_out_of_range_are_refused(declare):
    with pytest.raises(PersonaError, match="out of range"):
        declare()


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_repr_rebuilds_the_declaration(augmentation):
    from diffusers_persona.inversion import augmentation as module

    assert eval(repr(augmentation), vars(module)) == augmentation
