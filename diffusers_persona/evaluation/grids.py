"""Labelled picture grids: rows of pictures, a name beside each row, a title over each column."""

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT, RULE = "#ffffff", "#1d2430", "#6b7483", "#d9dee6"
LABEL_WIDTH = 190
GAP = 8
MARGIN = 20

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Row = tuple[str, Sequence[Image.Image | None]]


def fit(picture: Image.Image, cell: int) -> Image.Image:
    """Scale a picture to fit a square cell, smoothly: outlines are easier to recognise than squares.

    Args:
        picture: any mode, any size.
        cell: side of the square in pixels, >= 1.

    Returns:
        an RGB picture no larger than [cell, cell], aspect ratio kept.
    """
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def wrap(text: str, font: Font, width: int) -> str:
    """Break a text into lines no wider than `width` pixels (a single longer word is broken inside)."""
    lines = []
    for paragraph in text.split("\n"):
        average = max(font.getlength(paragraph) / max(len(paragraph), 1), 1.0)
        columns = max(4, int(width / average))
        while columns > 4 and any(font.getlength(line) > width for line in textwrap.wrap(paragraph, columns)):
            columns -= 1
        lines += textwrap.wrap(paragraph, columns) or [""]
    return "\n".join(lines)


def _text_height(text: str, font: Font) -> int:
    box = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font=font, spacing=3)
    return int(box[3]) + 2


def labelled_grid(
    rows: Sequence[Row],
    column_titles: Sequence[str],
    *,
    cell: int = 128,
    title: str | None = None,
    footer: str | None = None,
    titles_after: int = 0,
) -> Image.Image:
    """Draw pictures as a table with a name for each row and a title for each column.

    Args:
        rows: pairs (name, pictures); `None` leaves a cell empty, rows may be shorter than the titles. A second line in
            the name ("lora\\n2 min") is drawn smaller and fainter.
        column_titles: one text a column; long ones are wrapped. May be empty.
        cell: side of a picture's square in pixels; 128 suits the Toybox's 64-pixel pictures.
        title: a headline over everything.
        footer: small print below everything.
        titles_after: how many rows come before the column titles (1 puts a row of references above them).

    Returns:
        one RGB picture.

    Raises:
        ValueError: there is no row or no picture to draw.
    """
    columns = max([len(column_titles), *(len(pictures) for _, pictures in rows)], default=0)
    if not columns:
        raise ValueError("labelled_grid needs at least one row with one picture")
    width = 2 * MARGIN + LABEL_WIDTH + columns * (cell + GAP) - GAP
    headline, caption, small = (ImageFont.load_default(size) for size in (22, 15, 12))
    titles = [wrap(text, caption, cell) for text in column_titles]
    titles_height = max((_text_height(text, caption) for text in titles), default=0)
    title = wrap(title, headline, width - 2 * MARGIN) if title else ""
    footer = wrap(footer, small, width - 2 * MARGIN) if footer else ""
    height = 2 * MARGIN + len(rows) * (cell + GAP) + (titles_height + 2 * GAP if titles else 0)
    height += (_text_height(title, headline) + 2 * GAP if title else 0) + (
        _text_height(footer, small) + GAP if footer else 0
    )

    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    if title:
        draw.multiline_text((MARGIN, y), title, fill=INK, font=headline, spacing=3)
        y += _text_height(title, headline) + 2 * GAP
    for number, (name, pictures) in enumerate(rows):
        if titles and number == titles_after:
            y = _draw_titles(draw, titles, caption, y, titles_height, cell, width, ruled=number > 0)
        _draw_name(draw, name, caption, small, y, cell)
        for column, picture in enumerate(pictures):
            if picture is not None:
                shown = fit(picture, cell)
                left = MARGIN + LABEL_WIDTH + column * (cell + GAP)
                sheet.paste(shown, (left + (cell - shown.width) // 2, y + (cell - shown.height) // 2))
        y += cell + GAP
    if footer:
        draw.multiline_text((MARGIN, y + GAP // 2), footer, fill=FAINT, font=small, spacing=3)
    return sheet


def stack(*sheets: Image.Image) -> Image.Image:
    """Put sheets below one another on one page, left-aligned.

    Raises:
        ValueError: there is no sheet.
    """
    if not sheets:
        raise ValueError("stack needs at least one sheet")
    page = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), PAPER)
    y = 0
    for sheet in sheets:
        page.paste(sheet, (0, y))
        y += sheet.height
    return page


def _draw_titles(draw, titles, font, y, titles_height, cell, width, *, ruled) -> int:
    if ruled:
        draw.line((MARGIN, y, width - MARGIN, y), fill=RULE, width=1)
    y += GAP
    for column, text in enumerate(titles):
        centre = MARGIN + LABEL_WIDTH + column * (cell + GAP) + cell // 2
        anchor = (centre, y + titles_height)
        draw.multiline_text(anchor, text, fill=INK, font=font, spacing=3, anchor="md", align="center")
    return y + titles_height + GAP


def _draw_name(draw, name, caption, small, y, cell) -> None:
    name, _, note = name.partition("\n")
    name = wrap(name, caption, LABEL_WIDTH - 2 * GAP)
    note = wrap(note, small, LABEL_WIDTH - 2 * GAP) if note else ""
    heights = _text_height(name, caption), (_text_height(note, small) if note else 0)
    top = y + max(0, (cell - sum(heights) - 4) // 2)
    draw.multiline_text((MARGIN, top), name, fill=INK, font=caption, spacing=3)
    if note:
        draw.multiline_text((MARGIN, top + heights[0] + 4), note, fill=FAINT, font=small, spacing=3)
