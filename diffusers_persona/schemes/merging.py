"""Merging: several concepts become one concept."""

from __future__ import annotations

from ..errors import PersonaError
from .merging_columns import ColumnMerge, PredictedMerge
from .merging_features import GradientFusion
from .merging_keys import ConstrainedKeyValueMerge
from .merging_layers import LayerMix
from .merging_low_rank import ContentAndStyle, Sum
from .merging_neurons import NeuronUnion
from .merging_parts import Materials

_ALL = (
    ConstrainedKeyValueMerge,
    GradientFusion,
    ColumnMerge,
    PredictedMerge,
    ContentAndStyle,
    NeuronUnion,
    LayerMix,
    Sum,
)
MERGES = {merge.kind: merge for merge in _ALL}
"""Kind -> merge: what `merge` takes as ``how`` beside the recipes that have one."""


def merge(concepts, pipe, *, how=None, captions=None, pictures=None, seed: int = 0, report=None, **numbers):
    """Merges concepts by the merge that their recipe's paper defines, or by another.

    Args:
        concepts: two or more concepts that were learned on `pipe`'s model.
        pipe: the pipeline that they were learned on; it stays as it is.
        how: id of the recipe whose merge is used, or the kind of a merge (`MERGES`, e.g. ``"sum"``); None for that of
            the concepts' own recipe, which is then the same for all.
        captions: ordinary captions for merges that need them.
        pictures: pictures of each concept, one entry a concept, for merges that learn; made by the concepts themselves
            where none are given.
        seed: of everything that is drawn.
        report: called with (steps done, of how many) by merges that take long.
        **numbers: of the recipe, or of the merge.

    Raises:
        PersonaError: for concepts of different recipes without `how`, a recipe without a merge, or concepts that the
            merge cannot take.
    """
    names = {concept.header["recipe"] for concept in concepts}
    if len(concepts) < 2 or (how is None and len(names) != 1):
        raise PersonaError(
            f"a merge takes two or more concepts of one recipe, or how=; given: {len(concepts)} of "
            f"{', '.join(sorted(names))}"
        )
    if pictures is not None and len(pictures) != len(concepts):
        raise PersonaError(f"pictures= holds {len(pictures)} entries for {len(concepts)} concepts; give one for each")
    scheme = resolve(how or names.pop(), pipe, numbers)
    materials = Materials(captions=tuple(captions or ()), pictures=tuple(pictures or ()), seed=seed)
    if report is not None:
        materials = Materials(captions=materials.captions, pictures=materials.pictures, seed=seed, report=report)
    return scheme(concepts, pipe, materials)


def resolve(how: str, pipe, numbers: dict):
    """The merge called `how`, a recipe's id or a kind in `MERGES`, with its numbers.

    Raises:
        PersonaError: there is none, or it has no such number.
    """
    import dataclasses

    from .. import backbones
    from ..recipe import get

    kind = how.replace("-", "_")
    if kind in MERGES:
        known = [field.name for field in dataclasses.fields(MERGES[kind])]
        if unknown := sorted(set(numbers) - set(known)):
            raise PersonaError(f"merge {how!r} has no number {', '.join(unknown)}; it has: {', '.join(known)}")
        return MERGES[kind](**numbers)
    try:
        entry = get(how)
    except PersonaError as error:
        raise PersonaError(f"there is no merge {how!r}; choose {', '.join(MERGES)}, or a recipe's id") from error
    scheme = entry.build(**entry.resolve(numbers, miniature=backbones.of(pipe).miniature)).merge
    if scheme is None:
        raise PersonaError(
            f"recipe {entry.id!r} defines no merge; attach its concepts side by side instead, or give how= a recipe "
            f"that has one, or {', '.join(MERGES)}"
        )
    return scheme
