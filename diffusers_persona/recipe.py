"""A recipe: one published method, as an inversion space, an inversion method and a personalization scheme.

This module loads no torch: the registry can be listed in milliseconds.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from .errors import PersonaError

ENTRY_POINTS = "diffusers_persona.recipes"

LEARNS = {
    "object": "a thing or an animal",
    "person": "a person",
    "style": "a style, from pictures of several things in it",
    "relation": "how two things lie, from captioned pictures",
    "several": "two things or more that stand together in each picture; the noun is then 'cup and toy'",
    "stylised": "a thing and a style, both from one picture; the noun is 'cup and style'",
    "pair": "a style, from a plain picture and the same picture in the style; the noun is 'cup and style'",
    "merged": "a thing and a style, learned one by one and merged",
    "portrait": "a person and a style, from pictures of each; the noun is 'woman and style'",
}
"""What a recipe learns from -> what that is. ToyBench holds a recipe to concepts that fit."""

_LEARNS_BY_CATEGORY = {"face": "person", "character": "person", "style": "style", "semantics": "relation"}

PROMISES = {
    "faster": "learns in fewer seconds",
    "smaller": "leaves a smaller file",
    "faithful": "comes nearer to the concept",
    "editable": "obeys the prompt more",
    "remembers": "keeps the class: pictures of the class word turn less into the concept",
    "disentangled": "keeps the references' backgrounds out of the concept",
}
"""What a recipe may promise against a plain method -> what is measured for it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a method is, with its numbers resolved.

    Attributes:
        space: where the concept lives; one or more inversion spaces, learned together.
        method: how it is found (`inversion.Optimization`, ...).
        scheme: how it is used (`schemes.Prompting`, ...).
        data: how pictures become training examples (`inversion.data.Data`).
        merge: how several concepts of this recipe become one, or None.
    """

    space: tuple
    method: Any
    scheme: Any
    data: Any
    merge: Any = None

    def __post_init__(self):
        spaces = self.space if isinstance(self.space, (tuple, list)) else (self.space,)
        object.__setattr__(self, "space", tuple(spaces))
        if not self.space:
            raise PersonaError("a recipe needs at least one inversion space, e.g. space=[spaces.Word()]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeEntry:
    """A registered recipe: the factory and the facts of its paper.

    Attributes:
        id: catalog id, e.g. ``"custom-diffusion"``.
        name: title of the method, from the docstring's first line.
        ref: reference number in "Personalized Image Generation with Deep Generative Models: A Decade Survey".
        family, category: the survey's place of the method.
        backbones: host families that it serves (``"sd"``, ``"sdxl"``, ...).
        paper, code, licence: arXiv number, official code, licence of that code.
        departures: where this recipe differs from the paper, or facts that could not be verified.
        miniature: numbers that replace the paper's on miniature hosts (pictures of 64 pixels and less).
        learns: what it learns from, one of `LEARNS`; by default what fits the category.
        pictures: how many pictures the method takes (1 for a one-shot method), or None for as many as there are.
        masks: whether the method is given the masks of what it learns.
        promise: what it promises: pairs of a kind (one of `PROMISES`) and the recipe that it is held against.
        factory: the decorated function; its keyword defaults are the paper's numbers.
    """

    id: str
    name: str
    ref: int
    family: str
    category: str
    backbones: tuple[str, ...]
    paper: str
    code: str
    licence: str
    departures: str
    miniature: dict[str, Any]
    factory: Callable[..., Recipe]
    learns: str = "object"
    pictures: int | None = None
    masks: bool = False
    promise: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        if self.learns not in LEARNS:
            raise PersonaError(
                f"recipe {self.id!r}: learns={self.learns!r} is unknown; it is one of {', '.join(LEARNS)}"
            )
        for pair in self.promise:
            if len(pair) != 2 or pair[0] not in PROMISES:
                kinds = ", ".join(PROMISES)
                raise PersonaError(f"recipe {self.id!r}: promise {pair!r} is no (kind, recipe); kinds are {kinds}")

    @property
    def defaults(self) -> dict[str, Any]:
        """The paper's numbers: keyword -> default value."""
        return {name: p.default for name, p in inspect.signature(self.factory).parameters.items()}

    def resolve(self, numbers: dict[str, Any], *, miniature: bool = False) -> dict[str, Any]:
        """All numbers of a run: the paper's, then those for a miniature host, then the caller's.

        Raises:
            PersonaError: for a keyword that the recipe does not have.
        """
        defaults = self.defaults
        unknown = sorted(set(numbers) - set(defaults))
        if unknown:
            raise PersonaError(
                f"recipe {self.id!r} has no number {', '.join(map(repr, unknown))}; it has: {', '.join(defaults)}"
            )
        return {**defaults, **(self.miniature if miniature else {}), **numbers}

    def build(self, **numbers) -> Recipe:
        """The recipe with `numbers` in place of the paper's."""
        return self.factory(**self.resolve(numbers))

    @property
    def space(self) -> list[str]:
        """Kinds of the inversion spaces, e.g. ``["word", "key_weights"]``."""
        return [space.kind for space in self.build().space]

    @property
    def method(self) -> str:
        """Kind of the inversion method, e.g. ``"optimization"``."""
        return self.build().method.kind


_REGISTRY: dict[str, RecipeEntry] = {}


def recipe(
    *,
    ref: int,
    family: str,
    category: str,
    backbones: tuple[str, ...],
    paper: str,
    code: str = "",
    licence: str = "",
    departures: str = "none known",
    miniature: dict[str, Any] | None = None,
    learns: str = "",
    pictures: int | None = None,
    masks: bool = False,
    promise: tuple = (),
):
    """Registers a recipe factory under its catalog id: the function's name with hyphens.

    `RecipeEntry` says what the facts mean. ``promise`` is one pair, ``("editable", "textual-inversion")``, or several.

    Raises:
        TypeError: when a parameter is positional or has no default, or the docstring is missing.
        PersonaError: when the id is taken.
    """

    def register(factory):
        name = factory.__name__.replace("_", "-")
        for parameter in inspect.signature(factory).parameters.values():
            if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty:
                raise TypeError(f"recipe {name!r}: parameter {parameter.name!r} must be keyword-only with a default")
        if not factory.__doc__:
            raise TypeError(f"recipe {name!r} needs a docstring that starts with the paper's title")
        if name in _REGISTRY and _REGISTRY[name].factory.__module__ != factory.__module__:
            raise PersonaError(
                f"two recipes are called {name!r}: {_REGISTRY[name].factory.__module__} and {factory.__module__}"
            )
        entry = RecipeEntry(
            id=name,
            name=factory.__doc__.strip().splitlines()[0].rstrip("."),
            ref=ref,
            family=family,
            category=category,
            backbones=tuple(backbones),
            paper=paper,
            code=code,
            licence=licence,
            departures=departures,
            miniature=dict(miniature or {}),
            factory=factory,
            learns=learns or _LEARNS_BY_CATEGORY.get(category, "object"),
            pictures=pictures,
            masks=masks,
            promise=(promise,) if promise and isinstance(promise[0], str) else tuple(promise),
        )
        entry.resolve(entry.miniature)
        _REGISTRY[name] = entry
        return factory

    return register


_loaded = False


def _load_all():
    """Imports every recipe module of the package, then the plugins' entry points, once."""
    global _loaded
    if _loaded:
        return
    from . import recipes

    for module in pkgutil.walk_packages(recipes.__path__, recipes.__name__ + "."):
        importlib.import_module(module.name)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        point.load()
    _loaded = True


def get(name: str) -> RecipeEntry:
    """The registered recipe called `name`.

    Raises:
        PersonaError: with the nearest names when there is none.
    """
    _load_all()
    if name in _REGISTRY:
        return _REGISTRY[name]
    import difflib

    near = difflib.get_close_matches(name, _REGISTRY, n=3, cutoff=0.4) or sorted(_REGISTRY)
    raise PersonaError(
        f"there is no recipe {name!r}; did you mean {', '.join(near)}? `persona recipes` lists them all"
    )


def list_recipes(family: str | None = None, category: str | None = None, backbone: str | None = None):
    """Registered recipes in alphabetical order, filtered by the given facts."""
    _load_all()
    return [
        entry
        for _, entry in sorted(_REGISTRY.items())
        if (family is None or entry.family == family)
        and (category is None or entry.category == category)
        and (backbone is None or backbone in entry.backbones)
    ]
