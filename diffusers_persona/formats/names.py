"""How a layer may be called in a file, against how a host calls it."""

from __future__ import annotations

from collections.abc import Iterator

from . import ldm


def spellings(path: str, root) -> Iterator[str]:
    """The names that a host's module `root` may have for the layer `path`, the likeliest first.

    With and without ``text_model`` (transformers dropped it), the original UNet's names by the host's own config, and
    last a layer whose name differs only in dots and underscores.
    """
    yield path
    yield path.removeprefix("text_model.")
    yield f"text_model.{path}"
    if ldm.is_ldm(path) and hasattr(root.config, "layers_per_block"):
        yield ldm.of_config(path, root.config)
    flat = path.removeprefix("text_model.").replace(".", "_")
    for name, _ in root.named_modules():
        if name.removeprefix("text_model.").replace(".", "_") == flat:
            yield name
