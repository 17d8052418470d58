"""The union of concept neurons."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .merging_parts import Materials, concept_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuronUnion:
    """Concepts that shut weights off, together: every weight that one of them shuts off.

    Source: Cones, Liu et al., arXiv 2303.05125, section 3.3 (concatenated concept neurons).
    """

    kind: ClassVar[str] = "neuron_union"

    def __call__(self, concepts, pipe, materials: Materials):
        """One concept with the union of the masks."""
        from ..functional.neurons import union
        from ..spaces.neurons import NEURONS

        found = []
        for concept in concepts:
            spaces = [(i, space) for i, space in enumerate(concept.spaces) if space.kind == "concept_neurons"]
            if len(spaces) != 1:
                raise PersonaError(
                    f"concept {concept.phrase!r} has no concept neurons; this merge is for those of cones"
                )
            found.append((spaces[0][1], concept.tensors_of(spaces[0][0])))
        masks = [{name: values.long() for name, values in tensors.items()} for _, tensors in found]
        merged = {name: values.float() for name, values in union(masks).items()}
        count = {"neurons": sum(len(values) for name, values in merged.items() if name.endswith(NEURONS))}
        return concept_of(concepts, [(found[0][0], merged)], merge=self.kind, **count)
