"""Grids: every picture in its place, whatever its size; long names are wrapped."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from diffusers_persona.evaluation.grids import fit, labelled_grid, stack, wrap

RED, GREEN, BLUE = (Image.new("RGB", (64, 64), colour) for colour in ("#ff0000", "#00ff00", "#0000ff"))


def places(sheet, picture):
    """Centre (x, y) of the pixels that have the picture's colour."""
    found = np.argwhere((np.asarray(sheet) == np.asarray(picture)[0, 0]).all(axis=-1))
    assert len(found) == 128 * 128
    return found.mean(axis=0)[::-1]


def test_rows_and_columns_are_where_they_belong():
    sheet = labelled_grid([("one", [RED, GREEN]), ("two", [None, BLUE])], ["left", "right"], title="t", footer="f")
    red, green, blue = (places(sheet, picture) for picture in (RED, GREEN, BLUE))
    assert red[0] < green[0] and red[1] == green[1]
    assert green[0] == blue[0] and green[1] < blue[1]


def test_titles_can_stand_below_a_row_of_references():
    above = labelled_grid([("references", [RED]), ("row", [GREEN])], ["title"], titles_after=1)
    below = labelled_grid([("references", [RED]), ("row", [GREEN])], ["title"])
    assert places(above, RED)[1] < places(below, RED)[1]


def test_pictures_of_any_shape_and_mode_fit_their_cell():
    for size, mode in (((300, 100), "RGBA"), ((7, 90), "L"), ((128, 128), "P")):
        fitted = fit(Image.new(mode, size), 128)
        assert fitted.mode == "RGB" and max(fitted.size) == 128


def test_long_texts_are_wrapped_to_the_width():
    font = ImageFont.load_default(15)
    text = wrap("a very long prompt about antidisestablishmentarianism on the beach", font, 100)
    assert max(font.getlength(line) for line in text.split("\n")) <= 100
    assert "".join(text.split()) == "averylongpromptaboutantidisestablishmentarianismonthebeach"


def test_sheets_stack_on_one_page():
    page = stack(RED, Image.new("RGB", (100, 10)))
    assert page.size == (100, 74)


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        labelled_grid([], [])
    with pytest.raises(ValueError, match="at least one"):
        stack()
