"""The table of formats, `docs/formats.md`, made from the registry: there is no second list.

python -m diffusers_persona.formats.page [path]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..files import write_whole
from .base import Format
from .registry import formats

_HEAD = """\
# File formats

<!-- Written by `make formats` from the registry; edits are lost. -->

What a file is, is told by its keys, shapes and metadata, never by its name. `Concept.from_file(FILE)` loads it and
keeps a report of the keys that matched, were unused, or are missing; not one match is an error.
`concept.export(NAME, PATH)` and `persona convert FILE OUT --to NAME` write it; `persona inspect FILE` says what it is.

Every layout is read from safetensors, and from PyTorch's pickles (`.pt`, `.bin`, `.ckpt`, `.pth`; zip and legacy).
Pickles are not unpickled: a small interpreter reads plain data and tensors, and refuses by name whatever else a file
asks for. A folder or a Hub repository is read when it holds the weights of one concept, with its words beside them.
"""


def formats_page(listed: Sequence[Format]) -> str:
    """The page as Markdown: layouts that are loaded, names that are written, and what is recognised and refused."""
    loaded = [_loaded(each) for each in listed if each.load is not None]
    names = dict.fromkeys(name for each in listed for name in each.writes)
    written = [_written(name, [each for each in listed if name in each.writes]) for name in names]
    named = [f"| {each.title} | {each.layout} | {each.refusal} |" for each in listed if _is_named_only(each)]
    return "\n".join(
        [
            _HEAD,
            "## Loaded\n",
            "| format | layout | written as |",
            "|---|---|---|",
            *loaded,
            "\n## Written\n",
            "| name | for concepts in | files |",
            "|---|---|---|",
            *written,
            "\n`diffusers` is also what `save_pretrained` puts beside a concept, for those without this library.\n",
            "## Recognised and named, not loaded\n",
            "| format | layout | why |",
            "|---|---|---|",
            *named,
            "",
        ]
    )


def _is_named_only(each: Format) -> bool:
    return each.load is None and each.save is None


def _loaded(each: Format) -> str:
    names = ", ".join(f"`{name}`" for name in each.writes)
    return f"| {each.title} | {each.layout} | {names} |"


def _written(name: str, writers: Sequence[Format]) -> str:
    spaces = ["any of the spaces that fold" if each.holds is None else " + ".join(each.holds) for each in writers]
    suffixes = dict.fromkeys(suffix for each in writers if each.holds is not None for suffix in each.suffixes)
    return f"| `{name}` | {'; '.join(dict.fromkeys(spaces))} | {', '.join(suffixes) or 'a pipeline folder'} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page to the path given, by default `docs/formats.md`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    path = Path(arguments[0] if arguments else "docs/formats.md")
    write_whole(path, formats_page(formats()).encode())
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
