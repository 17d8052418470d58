"""Search: the concept is found by trying candidates, with forward passes alone."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .optimization import Optimization


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Optimization):
    """The numbers of a CMA-ES search in the one training loop; no gradient is computed.

    ``steps`` are generations, ``batch_size`` the pictures that each candidate is judged on.

    Attributes:
        population: candidates a generation; >= 4.
        lr: the step size that the search begins with (sigma), in units of the space's coordinates.
    """

    kind: ClassVar[str] = "search"

    lr: float | dict[str, float] = 1.0
    population: int = 20
    optimizer: str = "cma-es"
    clip: float | None = None
    weight_decay: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.population < 4:
            raise PersonaError(f"Search(population={self.population}): give at least 4 candidates a generation")
        if self.phases or self.ema is not None or self.schedule != "constant" or self.optimizer != "cma-es":
            raise PersonaError("a search has no phases, moving average, schedule or other optimiser; leave them out")
