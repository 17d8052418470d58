"""Changes of pictures that their prompts name."""

import pytest
import torch

from diffusers_persona import PersonaError
from diffusers_persona.inversion.paired import OPERATIONS, NamedChange

PICTURE = torch.linspace(-1, 1, 3 * 8 * 8).view(3, 8, 8)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_change_keeps_the_size_and_begins_the_prompt_with_its_word(name):
    random = torch.Generator().manual_seed(1)
    change = NamedChange(p=1.0, operations=(name,))
    pixels, mask, prompt = change.apply(PICTURE, None, "a photo of <toy>", random)
    assert pixels.shape == PICTURE.shape and -1 <= pixels.min() and pixels.max() <= 1
    assert not torch.equal(pixels, PICTURE)
    assert prompt == f"{{{name}}} a photo of <toy>" and prompt in change.prompts("a photo of <toy>")
    if name in ("left", "right", "zoom-out"):
        assert mask.shape == (1, 8, 8) and 0 < mask.mean() < 1
    else:
        assert mask is None


@pytest.mark.evidence(level="parity", recipe="textboost")
def test_left_and_right_move_the_picture_and_mark_what_is_empty():
    random = torch.Generator().manual_seed(0)
    pixels, mask, _ = NamedChange(p=1.0, operations=("right",)).apply(PICTURE, None, "a", random)
    shift = int((mask[0, 0] == 0).sum())
    assert shift in (1, 2) and torch.equal(pixels[..., shift:], PICTURE[..., :-shift])


def test_the_empty_prompt_stays_empty_and_the_example_may_stay():
    random = torch.Generator().manual_seed(0)
    assert NamedChange(p=1.0).apply(PICTURE, None, "", random)[2] == ""
    assert NamedChange(p=0.0).apply(PICTURE, None, "a", random)[2] == "a"


def test_an_unknown_change_is_refused():
    with pytest.raises(PersonaError, match="choose of flip"):
        NamedChange(operations=("melt",))
