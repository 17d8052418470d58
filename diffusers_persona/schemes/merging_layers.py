"""Style mixing in P+: one word takes the shape of one concept and the appearance of another."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .merging_parts import Materials


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerMix:
    """The embeddings of the first concept in the coarse, inner layers, those of the second in all others.

    Coarse layers decide the shape, fine ones the appearance. Source: Voynov et al., P+, arXiv 2303.09522, section 5.2.

    Attributes:
        first, last: the layers of the first concept, counted from 0 in the order in which they run.
    """

    kind: ClassVar[str] = "layer_mix"

    first: int = 5
    last: int = 10

    def __call__(self, concepts, pipe, materials: Materials):
        """A concept with the first one's word.

        Raises:
            PersonaError: for more than two concepts, others than P+, or layers that they do not have.
        """
        from ..concept import Concept

        if len(concepts) != 2 or any([s.kind for s in c.spaces] != ["p_plus"] for c in concepts):
            kinds = "; ".join(", ".join(space.kind for space in concept.spaces) for concept in concepts)
            raise PersonaError(
                f"a layer mix takes two concepts in p_plus space, a shape and an appearance; got {kinds}"
            )
        shape, appearance = concepts
        mixed = dict(shape.tensors)
        for name, rows in shape.tensors.items():
            other = appearance.tensors.get(name)
            if not name.endswith(".embedding"):
                continue
            if other is None or other.shape != rows.shape or not 0 <= self.first <= self.last < len(rows):
                raise PersonaError(
                    f"layers {self.first} to {self.last} of {name} {tuple(rows.shape)} cannot be mixed with "
                    f"{'nothing' if other is None else tuple(other.shape)}; give first= and last= within both"
                )
            mixed[name] = other.clone()
            mixed[name][self.first : self.last + 1] = rows[self.first : self.last + 1]
        record = [{"token": c.token, "noun": c.noun, "digest": c.digest} for c in concepts]
        training = {"merged": record, "merge": self.kind, **dataclasses.asdict(self)}
        return Concept(header=dict(shape.header, training=training), tensors=mixed)
