"""Personalized image generation for diffusers: every published method is one short recipe.

The public face is lazy: ``import diffusers_persona`` loads neither torch nor diffusers.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "learn": "diffusers_persona.training.learn",
    "learn_many": "diffusers_persona.training.learn_many",
    "Concept": "diffusers_persona.concept",
    "Attachment": "diffusers_persona.attachment",
    "Recipe": "diffusers_persona.recipe",
    "merge": "diffusers_persona.schemes.merging",
    "check_recipe": "diffusers_persona.conformance",
    "PersonaError": "diffusers_persona.errors",
}
_MODULES = ("recipes", "toybox", "testing", "spaces", "losses", "schemes", "inversion", "backbones", "evaluation")

__all__ = ["__version__", *_PUBLIC, *_MODULES]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
