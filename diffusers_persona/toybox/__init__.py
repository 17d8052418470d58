"""The Toybox: a miniature picture world of 64x64 pictures, with small trained models in diffusers' stock classes.

>>> pipe = toybox.load()
>>> pipe("a cat next to a teapot in the snow", num_inference_steps=25).images[0]
>>> toybox.concepts()[0].references
"""

import importlib

_FUNCTIONS = {
    "load": "pipeline",
    "concepts": "held_out",
    "concept": "held_out",
    "class_pictures": "class_sets",
    "render": "world",
}
_MODULES = ("instruments", "prompts", "vocabulary", "world")

__all__ = [*_FUNCTIONS, *_MODULES]


def __getattr__(name):
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
