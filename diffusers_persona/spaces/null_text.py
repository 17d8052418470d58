"""Null text: the empty prompt's state of each step, so that guided sampling gives a real picture back.

Source: Mokady et al., Null-text Inversion for Editing Real Images using Guided Diffusion Models, arXiv 2211.09794,
section 3.2. `inversion.null_text` finds it.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class NullText:
    """The states [T, L, d] of one prompt at T timesteps; between them, that of the nearest one acts.

    Attributes:
        prompt: whose states they are: the unconditional prompt of sampling.
    """

    kind: ClassVar[str] = "null_text"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = False

    prompt: str = ""

    def prepare(self, host, subject: Subject) -> Learner:
        """Not by gradient descent on many pictures: one picture's states are found step after step.

        Raises:
            PersonaError: always, with the function that does it.
        """
        raise PersonaError("the null text belongs to one picture: find it with inversion.null_text.invert(pipe, ...)")

    def attach(self, host, tensors, grip: Grip):
        """Puts the states in the place of the prompt's; a scale s moves them from the stock one (0) to these (1)."""
        from .late_text import install_state
        from .late_words import NearestState

        timesteps = tensors.get("timesteps")
        for name, ids in host.tokenize([self.prompt]).items():
            states, width = tensors.get(f"{name}.states"), host.text_encoders[name].config.hidden_size
            shape = (0 if timesteps is None else len(timesteps), ids.shape[1], width)
            if states is None or timesteps is None or tuple(states.shape) != shape:
                present = "no tensor" if states is None else f"shape {tuple(states.shape)}"
                raise PersonaError(
                    f"null text: key '{name}.states' has {present}, the host needs [timesteps, {shape[1]}, {width}]; "
                    "attach it to the kind of model that it was found on"
                )
            install_state(host, name, NearestState(tuple(ids[0].tolist()), timesteps, states, grip), grip)
