"""What every merge needs: the concepts' words and low-rank factors, the merged concept, and parts of a concept."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError

if TYPE_CHECKING:
    from torch import Tensor

    from ..concept import Concept


@dataclasses.dataclass(frozen=True, kw_only=True)
class Materials:
    """What a merge may ask for beside the concepts.

    Attributes:
        captions: ordinary captions, for merges that must leave the rest of the model in place.
        pictures: pictures of each concept (what `learn` takes), in the concepts' order; empty where none are given.
        seed: of everything that is drawn.
        report: called with (steps done, of how many) by merges that take long.
    """

    captions: tuple[str, ...] = ()
    pictures: tuple = ()
    seed: int = 0
    report: Any = lambda done, of: None


def concept_of(concepts, spaces: list[tuple[Any, dict[str, Tensor]]], *, joint: str = " and ", **record) -> Concept:
    """The concept that holds the words of all `concepts`, and `spaces` with their tensors.

    Args:
        joint: what stands between the concepts' phrases.
        record: what the header tells of the merge.
    """
    from ..concept import Concept

    spaces = [*words(concepts), *spaces]
    header = dict(
        concepts[0].header,
        token=" ".join(dict.fromkeys(c.token for c in concepts)),
        noun=" ".join(dict.fromkeys(c.noun for c in concepts)),
        phrase=joint.join(c.phrase for c in concepts),
        training={"merged": [{"token": c.token, "noun": c.noun, "digest": c.digest} for c in concepts], **record},
        spaces=[{"kind": space.kind, **dataclasses.asdict(space)} for space, _ in spaces],
    )
    tensors = {f"{i}.{s.kind}.{name}": t for i, (s, own) in enumerate(spaces) for name, t in own.items()}
    return Concept(header=header, tensors=tensors)


def words(concepts) -> list[tuple[Any, dict[str, Tensor]]]:
    """The concepts' new words: spaces with their tokens filled in, and their tensors."""
    return [
        (dataclasses.replace(space, token=space.token or concept.token), concept.tensors_of(i))
        for concept in concepts
        for i, space in enumerate(concept.spaces)
        if space.adds_token
    ]


def factors(concept) -> dict[str, tuple[Tensor, Tensor]]:
    """The concept's low-rank change of each layer: ``<component>.<path>`` -> A [r, in, ...], scaled B [out, r, ...].

    Raises:
        PersonaError: the concept has no LoRA, a space that is neither LoRA nor word, or magnitudes (DoRA).
    """
    import torch

    from ..spaces.low_rank import DOWN, MAGNITUDE, UP

    others = [space.kind for space in concept.spaces if space.kind != "low_rank" and not space.adds_token]
    if others or not any(space.kind == "low_rank" for space in concept.spaces):
        kinds = ", ".join(space.kind for space in concept.spaces)
        raise PersonaError(
            f"concept {concept.phrase!r} lives in {kinds}; this merge takes LoRAs: choose another with how="
        )
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for i, space in enumerate(concept.spaces):
        if space.kind != "low_rank" or not space.used:
            continue
        for path, parts in space.layers(concept.tensors_of(i)).items():
            if MAGNITUDE in parts:
                raise PersonaError(f"layer {path}: a LoRA with magnitudes cannot be merged; learn with dora=False")
            down, up = parts[DOWN].float(), parts[UP].float() * space.scaling_of(parts)
            if path in found:
                down, up = torch.cat([found[path][0], down]), torch.cat([found[path][1], up], dim=1)
            found[path] = down, up
    return found


def stacked(layers: dict[str, list[tuple[Tensor, Tensor]]]) -> tuple[Any, dict[str, Tensor]]:
    """The sum of several low-rank changes of each layer: one LoRA whose rank is the sum of the ranks. Exact."""
    import collections

    import torch

    from ..formats.lora_layers import ending
    from ..spaces.low_rank import DOWN, UP, LowRank

    tensors, ranks = {}, collections.Counter()
    for path, parts in layers.items():
        tensors[f"{path}.{DOWN}"] = torch.cat([down for down, _ in parts])
        tensors[f"{path}.{UP}"] = torch.cat([up for _, up in parts], dim=1)
        ranks[len(tensors[f"{path}.{DOWN}"])] += 1
    space = LowRank(
        rank=ranks.most_common(1)[0][0],
        targets=tuple(sorted({ending(path) for path in layers if not path.startswith("text_encoder")})),
        text_encoders=any(path.startswith("text_encoder") for path in layers),
    )
    return space, tensors


def only(concept: Concept, *names: str) -> Concept:
    """The concept with its spaces called `names` alone, and its words: ``only(concept, "style")``.

    Raises:
        PersonaError: for a name that none of its spaces has.
    """
    from ..concept import Concept

    present = [space.name for space in concept.spaces if not space.adds_token and getattr(space, "name", "")]
    for name in names:
        if name not in present:
            has = f"it has {', '.join(present)}" if present else "its spaces have no names"
            raise PersonaError(f"concept {concept.phrase!r} has no part {name!r}; {has}")
    kept = [i for i, s in enumerate(concept.spaces) if s.adds_token or getattr(s, "name", "") in names]
    spaces, tensors = [], {}
    for i in kept:
        space = concept.spaces[i]
        if not getattr(space, "used", True):
            space = dataclasses.replace(space, used=True)
        tensors |= {f"{len(spaces)}.{space.kind}.{name}": t for name, t in concept.tensors_of(i).items()}
        spaces.append({"kind": space.kind, **dataclasses.asdict(space)})
    return Concept(header=dict(concept.header, spaces=spaces), tensors=tensors, previews=concept.previews)
