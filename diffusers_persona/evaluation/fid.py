"""FID of a benchmark's pictures against a folder of real pictures of the class.

Published figures use the features of an Inception network (`inception.InceptionFeatures`), whose weights the user has
to give; without them the features are those of the DINO model at hand. The report says which. With few pictures a
value is far above its limit: it compares recipes within one report alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from diffusers_persona.errors import PersonaError
from diffusers_persona.files import write_whole

from .protocols.base import pictures as pictures_of
from .sets import frechet_distance

FILE = "fid.json"


@dataclass(frozen=True)
class DinoFeatures:
    """The features of a set of instruments."""

    instruments: Any

    @property
    def name(self) -> str:
        """Id of the model."""
        return self.instruments.models["dino"]

    @property
    def preprocessing(self) -> str:
        """What is done to a picture."""
        return self.instruments.preprocessing["dino"]

    def __call__(self, images: Sequence[Image.Image]) -> Any:
        """[N, d] embeddings."""
        return self.instruments.dino(images)


def record(recipes: Sequence[str], pictures: Path, real: Path, features: Any, output: Path) -> dict[str, Any]:
    """Writes `fid.json` beside the rows: recipe -> value, counts of pictures, and what the features are.

    Args:
        recipes: rows whose kept pictures are compared.
        pictures: where a sweep kept them.
        real: folder of real pictures, read with the folders inside.
        features: pictures -> [N, d], with a `name` and a `preprocessing` to report.
        output: folder of the rows.

    Raises:
        PersonaError: no real pictures, or fewer than two of a recipe.
    """
    reference = _features(_files(real), features, f"--real {real}")
    found = {}
    for recipe in recipes:
        made = _features(_files(pictures / recipe), features, str(pictures / recipe))
        found[recipe] = {
            "fid": round(frechet_distance(made, reference), 5),
            "pictures": len(made),
            "real": len(reference),
            "features": features.name,
            "preprocessing": features.preprocessing,
        }
    write_whole(output / FILE, (json.dumps(found, indent=2) + "\n").encode())
    return found


def read(output: Path) -> dict[str, Any]:
    """The stored values; empty where there are none."""
    path = output / FILE
    return json.loads(path.read_text()) if path.is_file() else {}


def _files(folder: Path) -> list[Path]:
    folders = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())] if folder.is_dir() else []
    return [file for each in folders for file in pictures_of(each)]


def _features(files: Sequence[Path], features: Any, name: str) -> Any:
    if len(files) < 2:
        raise PersonaError(f"FID needs two pictures or more: {name} holds {len(files)}.")
    return features([Image.open(file).convert("RGB") for file in files])
