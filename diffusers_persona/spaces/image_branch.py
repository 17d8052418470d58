"""Image branch: a vector for each reference, which takes up what belongs to that picture and not to the concept.

Source: Chen et al., DisenBooth, arXiv 2305.03374, section 3.2.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .base import Grip, Learner, Subject

ADAPTER = ("adapter.0.weight", "adapter.0.bias", "adapter.2.weight", "adapter.2.bias", "mask")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageBranch:
    """A small network on CLIP's embeddings of the references; its vector is added to every text state.

    `losses.ImageConditioned` and `losses.Disentangled` train it. In use it is left out, unless `picture` asks for the
    scene of one reference.

    Attributes:
        clip: folder or Hub id of the CLIP; None for the one that belongs to the host (see `encoders.clip`).
        picture: number of the reference whose scene is kept in use; None for none.
        noun: the class word, whose prompts show that scene; None for the concept's own.
    """

    kind: ClassVar[str] = "image_branch"
    adds_token: ClassVar[bool] = False
    trains_text: ClassVar[bool] = False

    clip: str | None = None
    picture: int | None = None
    noun: str | None = None

    def prepare(self, host, subject: Subject) -> Learner:
        """The adapter's parameters; the references' embeddings [P, d] as a constant."""
        import torch
        from torch import nn

        from ..encoders.clip import image_features

        clip = image_features(host, self.clip)
        with torch.no_grad():
            features = clip.images(subject.pictures.pixels(subject.resolution).to(host.device)).cpu()
        count = sum(encoder.get_input_embeddings().embedding_dim for encoder in host.text_encoders.values())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(subject.seed)
            first, second = nn.Linear(clip.width, clip.width), nn.Linear(clip.width, clip.width)
            output = nn.Linear(clip.width, count, bias=False)
        parameters = dict(zip(ADAPTER, (first.weight, first.bias, second.weight, second.bias)))
        parameters["mask"] = nn.Parameter(torch.zeros(clip.width))
        if clip.width != count:
            parameters["output.weight"] = output.weight
        for parameter in parameters.values():
            parameter.data = parameter.data.to(host.device)
        return Learner(parameters=parameters, constants={"features": features.to(host.device)})

    def attach(self, host, tensors, grip: Grip):
        """Nothing; or the vector of one reference, added to the states of prompts that hold the class word.

        Raises:
            PersonaError: there is no such reference.
        """
        if self.picture is None:
            return
        import torch

        from ..functional.image_branch import masked_residual
        from ..functional.token_rows import occurrences
        from .text_rows import refuse_window, width, word_ids
        from .text_sites import edit_text

        refuse_window(grip)
        features = tensors.get("features")
        count = 0 if features is None else len(features)
        if not 0 <= self.picture < count:
            raise PersonaError(f"ImageBranch(picture={self.picture}): the concept keeps {count} references")
        vector = masked_residual(features[self.picture, None], tensors)[0]
        parts = torch.split(vector, [width(host, name) for name in host.text_encoders])
        for name, part in zip(host.text_encoders, parts):
            own = word_ids(host, name, self.noun)

            def edit(state, ids, part=part, word=own):
                rows = occurrences(ids, word).any(1)[:, None, None]
                return state + grip.strength * rows * part.to(state)

            edit_text(host, name, edit, grip)
