"""The instruments that are no stock model: a stock ResNet trunk with labelled heads, or with an identity head."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ResNetConfig, ResNetModel

from diffusers_persona.errors import PersonaError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class TrunkNetwork(nn.Module):
    """A `transformers.ResNetModel` with something on top, kept as safetensors and JSON."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        self.trunk = ResNetModel(ResNetConfig(**config["trunk"]))
        self.width = config["trunk"]["hidden_sizes"][-1]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and fp16 model.safetensors into `folder`, each atomically."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.detach().cpu() for name, value in self.state_dict().items()}
        tensors = {name: value.half().contiguous() for name, value in tensors.items() if value.is_floating_point()}
        save_file(tensors, folder / f"{WEIGHTS}.tmp", metadata={"format": "pt"})
        os.replace(folder / f"{WEIGHTS}.tmp", folder / WEIGHTS)
        (folder / f"{CONFIG}.tmp").write_text(
            json.dumps({"_class_name": type(self).__name__, **self.config}, indent=1)
        )
        os.replace(folder / f"{CONFIG}.tmp", folder / CONFIG)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "TrunkNetwork":
        """Read what `save_pretrained` wrote, as fp32; PersonaError when a file is missing or does not fit."""
        folder = Path(folder)
        if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
            raise PersonaError(
                f"no {cls.__name__} in {folder}: expected {CONFIG} and {WEIGHTS}; reinstall the package"
            )
        network = cls(json.loads((folder / CONFIG).read_text()))
        tensors = {name: value.float() for name, value in load_file(folder / WEIGHTS).items()}
        missing, unexpected = network.load_state_dict(tensors, strict=False)
        wrong = [name for name in missing if not name.endswith("num_batches_tracked")] + unexpected
        if wrong:
            raise PersonaError(f"{folder / WEIGHTS} does not fit its {CONFIG}: {wrong[0]}; reinstall the package")
        return network.eval()


class AttributeNetwork(TrunkNetwork):
    """Reads what a 64x64 picture shows. `config["heads"]` maps each head to the names of its classes.

    The heads see the pooled features and a coarse map of where they are, so that they can tell relations.
    """

    MAP_CHANNELS = 48

    def __init__(self, config: dict):
        super().__init__(config)
        side = config["map_side"]
        self.where = nn.Conv2d(self.width, self.MAP_CHANNELS, 1)
        features = 2 * self.width + self.MAP_CHANNELS * side * side
        self.heads = nn.ModuleDict({head: nn.Linear(features, len(names)) for head, names in config["heads"].items()})
        for layer in self.heads.values():
            nn.init.constant_(layer.bias, -3.0)  # classes are rare; a start at 50 % would cost the first hundred steps

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """pixels [N, 3, 64, 64] in [-1, 1] -> logits [N, classes] of each head."""
        features = self.features(pixels)
        return {head: layer(features) for head, layer in self.heads.items()}

    def features(self, pixels: Tensor) -> Tensor:
        """What the heads see, [N, features]."""
        features = self.trunk(pixels).last_hidden_state
        where = F.relu(self.where(features)).flatten(1)
        return torch.cat([features.mean((2, 3)), features.amax((2, 3)), where], dim=1)


class FaceNetwork(TrunkNetwork):
    """Identity of a face crop as a unit vector: the ArcFace convention (112x112 -> 512) at half the side, 56x56."""

    DIMENSIONS = 512

    def __init__(self, config: dict):
        super().__init__(config)
        side = config["map_side"]
        self.project = nn.Sequential(
            nn.Flatten(),
            nn.Linear(self.width * side * side, self.DIMENSIONS, bias=False),
            nn.BatchNorm1d(self.DIMENSIONS),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [N, 3, 56, 56] in [-1, 1] -> [N, 512] of unit length."""
        return F.normalize(self.project(self.trunk(pixels).last_hidden_state).float(), dim=-1)
