"""Training of the encoders that compare pictures: DINO (a stock DINOv3ConvNextModel) and the face identity network.

Both learn to tell many instances apart by an additive-margin softmax (CosFace, arXiv 1801.09414; ArcFace, arXiv
1801.07698, puts the margin on the angle) over normalised features, on varied backgrounds, places and looks, so that
what is left is the subject.
"""

from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from transformers import DINOv3ConvNextConfig, DINOv3ConvNextModel

from .augmentation import degrade, to_pixels
from .fitting import Plan, fit
from .geometry import FACE_SIDE
from .networks import FaceNetwork
from .pictures import PictureSet

DINO_PLAN = Plan(samples=160_000, batch=128, lr=1e-3, muon_scale=10.0)
FACE_PLAN = Plan(samples=90_000, batch=128, lr=1e-3, muon_scale=10.0)
_FACE_CONFIG = {
    "trunk": {"embedding_size": 24, "hidden_sizes": [48, 96, 160], "depths": [1, 2, 2], "layer_type": "basic"},
    "map_side": 4,
}


class MarginHead(nn.Module):
    """Cosine logits of unit features to class prototypes, with `margin` taken off the true class, times `scale`."""

    def __init__(self, features: int, classes: int, *, margin: float = 0.25, scale: float = 24.0):
        super().__init__()
        self.shape = (classes, features)
        self.prototypes = nn.Parameter(torch.randn(classes * features) * 0.1)  # flat, so that AdamW takes it, not Muon
        self.margin, self.scale = margin, scale

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        """Unit `features` [N, d] and `classes` [N] -> mean loss."""
        cosines = features.float() @ F.normalize(self.prototypes.view(self.shape), dim=-1).T
        wanted = F.one_hot(classes, self.shape[0])
        return F.cross_entropy((cosines - self.margin * wanted) * self.scale, classes)


def new_dino() -> DINOv3ConvNextModel:
    """An untrained DINO encoder of 64x64 pictures; its feature is `last_hidden_state[:, 0]`, [N, 256]."""
    return DINOv3ConvNextModel(
        DINOv3ConvNextConfig(
            image_size=64, hidden_sizes=[48, 96, 192, 256], depths=[1, 1, 3, 1], layer_scale_init_value=0.5
        )
    )


def train_dino(pictures: list[PictureSet], work: Path, plan: Plan = DINO_PLAN) -> DINOv3ConvNextModel:
    """Fit the DINO encoder to instance sets of the same classes (whole pictures, foregrounds); resumes from `work`."""
    torch.manual_seed(plan.seed)
    model = new_dino().to(memory_format=torch.channels_last)
    classes = torch.tensor([label["class"] for part in pictures for label in part.labels])
    head = MarginHead(model.config.hidden_sizes[-1], int(classes.max()) + 1)
    edges = torch.tensor([0] + [len(part) for part in pictures]).cumsum(0)

    def loss(indices: Tensor, generator: Generator) -> Tensor:
        indices = indices.sort().values
        images = [
            torch.from_numpy(part.images[(indices[(indices >= start) & (indices < stop)] - start).numpy()])
            for part, start, stop in zip(pictures, edges[:-1], edges[1:], strict=True)
        ]
        pixels = degrade(to_pixels(torch.cat(images)), generator)
        features = model(pixels.contiguous(memory_format=torch.channels_last)).last_hidden_state[:, 0]
        return head(F.normalize(features.float(), dim=-1), classes[indices])

    fit(nn.ModuleDict({"model": model, "head": head}), loss, plan, count=len(classes), folder=work)
    return model


def train_face(crops: PictureSet, work: Path, plan: Plan = FACE_PLAN) -> FaceNetwork:
    """Fit the identity network to face crops with a margin, which become random crops; resumes from `work`."""
    torch.manual_seed(plan.seed)
    network = FaceNetwork(_FACE_CONFIG).to(memory_format=torch.channels_last)
    classes = torch.tensor([label["class"] for label in crops.labels])
    head = MarginHead(FaceNetwork.DIMENSIONS, int(classes.max()) + 1, margin=0.3)

    def loss(indices: Tensor, generator: Generator) -> Tensor:
        indices = indices.sort().values
        pixels = degrade(to_pixels(torch.from_numpy(crops.images[indices.numpy()])), generator, shift=0)
        room = pixels.shape[-1] - FACE_SIDE
        x, y = torch.randint(0, room + 1, (2,), generator=generator).tolist()
        pixels = pixels[..., y : y + FACE_SIDE, x : x + FACE_SIDE]
        return head(network(pixels.contiguous(memory_format=torch.channels_last)), classes[indices])

    fit(nn.ModuleDict({"network": network, "head": head}), loss, plan, count=len(crops), folder=work)
    return network
