"""Faces as names: two words, a first and a last name, that a small network makes of a photo's identity.

Sources: Yuan et al., Celeb Basis, arXiv 2306.00926; Wang et al., StableIdentity, arXiv 2401.15975.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from ..errors import PersonaError
from .base import Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class CelebBasis:
    """A first and a last name in the basis of the names that the host knows: mean + coefficients times directions.

    The coefficients of each name have length 1. A network that makes them of the face is what learns; the concept is a
    `Word` of two vectors, with its coefficients beside it.

    Attributes:
        names: the list, see `spaces.names`.
        components: directions of the basis; as many as there are names at most.
        depth: layers of the network.
        face: the network that sees identity, see `encoders.face.face_features`; None for the miniature world's own.
        vectors: 2, a first and a last name.
        name, part, token: as of `Word`.
    """

    kind: ClassVar[str] = "word"
    adds_token: ClassVar[bool] = True
    trains_text: ClassVar[bool] = True

    names: str | tuple[str, ...] = "celebrities"
    components: int = 512
    depth: int = 1
    face: str | None = None
    vectors: int = 2
    name: str = ""
    part: int | str | None = None
    token: str | None = None

    def __post_init__(self):
        _check(self)
        if self.components < 1:
            raise PersonaError(f"CelebBasis(components={self.components}): a basis has at least one direction")

    def prepare(self, host, subject: Subject) -> Learner:
        """The network's weights as parameters; exports the words and their coefficients [2, k]."""
        import torch

        from ..encoders.mapper import Mapper
        from ..functional.names import in_basis, name_basis, unit

        bases = {}
        for name, columns in _columns(host, self.names).items():
            pairs = [name_basis(column, self.components) for column in columns]
            bases[name] = tuple(torch.stack(part) for part in zip(*pairs))
        shapes = {name: basis.shape[:2] for name, (_, basis) in bases.items()}

        def coefficients(networks, features):
            return {name: unit(network(features)[0].view(shapes[name])) for name, network in networks.items()}

        def words(networks, features):
            return {name: in_basis(c, *bases[name]) for name, c in coefficients(networks, features).items()}

        def further(networks, features):
            return {f"{name}.coefficients": c for name, c in coefficients(networks, features).items()}

        return _learner(
            host,
            subject,
            self,
            make={n: lambda d, n=n: Mapper(d, shapes[n].numel(), depth=self.depth) for n in bases},
            initial={name: mean for name, (mean, _) in bases.items()},
            words=words,
            further=further,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NameStatistics:
    """A first and a last name with the mean and the spread of the names that the host knows.

    A network makes two normalised codes of the face, which are scaled and shifted like the names; it is what learns,
    and the concept is a `Word` of two vectors.

    Attributes:
        depth, gain, deviation: layers of the network, the factor of its weights in use, and the weights' start.
        names, face, vectors, name, part, token: as of `CelebBasis`.
    """

    kind: ClassVar[str] = "word"
    adds_token: ClassVar[bool] = True
    trains_text: ClassVar[bool] = True

    names: str | tuple[str, ...] = "celebrities"
    depth: int = 2
    gain: float = 0.1
    deviation: float = 0.02
    face: str | None = None
    vectors: int = 2
    name: str = ""
    part: int | str | None = None
    token: str | None = None

    def __post_init__(self):
        _check(self)

    def prepare(self, host, subject: Subject) -> Learner:
        """The network's weights as parameters; exports the words."""
        import torch

        from ..encoders.mapper import Mapper
        from ..functional.names import in_statistics, name_statistics

        statistics = {}
        for name, columns in _columns(host, self.names).items():
            pairs = [name_statistics(column) for column in columns]
            statistics[name] = tuple(torch.stack(part) for part in zip(*pairs))

        def mapper(width, name):
            size = statistics[name][0].numel()
            return Mapper(width, size, depth=self.depth, gain=self.gain, deviation=self.deviation, normalised=True)

        def words(networks, features):
            codes = {n: network(features)[0].view(statistics[n][0].shape) for n, network in networks.items()}
            return {name: in_statistics(code, *statistics[name]) for name, code in codes.items()}

        return _learner(
            host,
            subject,
            self,
            make={n: lambda width, n=n: mapper(width, n) for n in statistics},
            initial={name: mean for name, (mean, _) in statistics.items()},
            words=words,
            further=lambda networks, features: {},
        )


def _check(space):
    if space.vectors != 2:
        raise PersonaError(f"{type(space).__name__}(vectors={space.vectors}): a face is 2 words, first and last name")
    if space.depth < 1:
        raise PersonaError(f"{type(space).__name__}(depth={space.depth}): a network has at least one layer")


def _columns(host, names) -> dict:
    """Text encoder's name -> embeddings [n, d] of first names and of last names."""
    from .names import name_vectors

    return {name: name_vectors(e, host.tokenizers[name], names) for name, e in host.text_encoders.items()}


def _learner(host, subject, space, *, make, initial, words, further) -> Learner:
    """The learner of words that networks (one a text encoder) make of the pictures' mean identity [1, D]."""
    import torch.nn.functional as F

    from ..encoders.face import face_features
    from ..encoders.mapper import seeded
    from .written import named_parameters, written

    identities = face_features(host, space.face).pictures([example.image for example in subject.pictures])
    networks: dict[str, Any] = seeded(
        subject.seed, lambda: {name: build(identities.shape[1]) for name, build in make.items()}
    )

    def features(pictures):
        chosen = identities if pictures is None else identities[sorted(set(pictures))]
        return F.normalize(chosen.mean(0, keepdim=True), dim=-1)

    return written(
        host,
        subject,
        space,
        parameters=named_parameters(networks),
        initial=initial,
        write=lambda pictures: words(networks, features(pictures)),
        further=lambda: further(networks, features(None)),
    )
