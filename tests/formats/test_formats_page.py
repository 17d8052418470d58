"""`docs/formats.md` is what the registry says."""

from pathlib import Path

from diffusers_persona.formats.page import formats_page, main
from diffusers_persona.formats.registry import formats

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == formats_page(formats()), "run `make formats`"


def test_every_format_and_every_name_stands_on_the_page(tmp_path):
    main([str(tmp_path / "formats.md")])
    text = (tmp_path / "formats.md").read_text(encoding="utf-8")
    for each in formats():
        assert each.load is None and each.save is not None or f"| {each.title} |" in text
        for name in each.writes:
            assert f"`{name}`" in text
