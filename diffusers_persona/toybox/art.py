"""The art of the miniature world: fetched from npm by package name, rasterised once, kept in one folder.

<folder>/icons.npy   [N, 96, 96, 4] uint8, RGBA, trimmed to a square     <folder>/art.json  names and labels
<folder>/faces.npy   [M, 64, 64, 4] uint8, RGBA
"""

import io
import json
import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from diffusers_persona.errors import PersonaError

from . import people
from .vocabulary import ICONS

PACKAGES = ("@iconify-json/fluent-emoji-flat@1.2.6", "@dicebear/core@9.4.3", "@dicebear/collection@9.4.3")
ICON_SIZE, FACE_SIZE = 96, 64
DISTRACTORS = 1100
_NOT_OBJECTS = (
    "light-skin dark medium flag keycap button arrow clock oclock thirty circle square symbol face man woman person "
    "sign moon mark diamond-suit hand finger fist boy girl baby heart".split()
)


@dataclass(frozen=True, kw_only=True)
class Art:
    """Rasterised icons and faces; `icons` and `faces` are memory-mapped arrays of RGBA pictures."""

    icons: np.ndarray
    faces: np.ndarray
    icon_index: dict[str, int]
    face_labels: list[dict]
    distractors: tuple[str, ...]

    @classmethod
    def open(cls, folder: str | Path) -> "Art":
        """Read `folder`, as `build_art` wrote it; PersonaError when it is not there."""
        folder = Path(folder)
        if not (folder / "art.json").is_file():
            raise PersonaError(
                f"no toybox art in {folder}: build it with `python -m diffusers_persona.toybox.build --stage art "
                f"--work {folder.parent}` (needs npm and the extra 'toybox-build')"
            )
        header = json.loads((folder / "art.json").read_text())
        return cls(
            icons=np.load(folder / "icons.npy", mmap_mode="r"),
            faces=np.load(folder / "faces.npy", mmap_mode="r"),
            icon_index={name: index for index, name in enumerate(header["icons"])},
            face_labels=header["faces"],
            distractors=tuple(header["distractors"]),
        )

    def icon(self, name: str) -> Image.Image:
        """RGBA picture of a noun (or of a distractor, by its icon name)."""
        return Image.fromarray(np.array(self.icons[self.icon_index[name]]))

    def face(self, index: int) -> Image.Image:
        """RGBA picture of face `index`; its labels are `face_labels[index]`."""
        return Image.fromarray(np.array(self.faces[index]))


def build_art(work: Path) -> Path:
    """Fetch the packages into `work/npm`, draw all into `work/art` and return that folder (kept if complete)."""
    folder = work / "art"
    if (folder / "art.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    modules = fetch_packages(work / "npm")
    drawn = _icon_svgs(modules / "@iconify-json" / "fluent-emoji-flat" / "icons.json")
    np.save(folder / "icons.npy", np.stack([_trimmed(_rasterise(svg)) for svg in drawn.values()]))
    labels = list(people.faces())
    np.save(folder / "faces.npy", _draw_faces(modules, labels))
    header = {
        "packages": PACKAGES,
        "icons": list(drawn),
        "distractors": [name for name in drawn if name not in ICONS],
        "faces": [{key: value for key, value in label.items() if key != "options"} for label in labels],
    }
    temporary = folder / "art.json.tmp"
    temporary.write_text(json.dumps(header))
    os.replace(temporary, folder / "art.json")
    return folder


def fetch_packages(folder: Path) -> Path:
    """`npm install` of PACKAGES in `folder`, skipped for what is there already; returns node_modules."""
    modules = folder / "node_modules"
    missing = [package for package in PACKAGES if not (modules / package.rpartition("@")[0]).is_dir()]
    if missing:
        if not shutil.which("npm"):
            raise PersonaError("building the toybox art needs npm (Node.js): install it and run the command again")
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", *missing], cwd=folder, check=True)
    return modules


def _icon_svgs(icons_json: Path) -> dict[str, str]:
    """Name -> SVG of every noun, then of DISTRACTORS further icons in a seeded order."""
    data = json.loads(icons_json.read_text())
    width, height = data.get("width", 32), data.get("height", 32)
    others = [
        icon for icon in sorted(data["icons"])
        if icon not in ICONS.values() and not any(word in icon for word in _NOT_OBJECTS)
    ]  # fmt: skip
    random.Random(0).shuffle(others)
    wanted = ICONS | {icon: icon for icon in others[:DISTRACTORS]}
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return {
        name: f'{head} viewBox="0 0 {width} {height}" width="{2 * ICON_SIZE}" height="{2 * ICON_SIZE}">'
        f"{data['icons'][icon]['body']}</svg>"
        for name, icon in wanted.items()
    }


def _rasterise(svg: str, size: int = 2 * ICON_SIZE) -> Image.Image:
    import resvg_py

    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)))).convert(
        "RGBA"
    )


def _trimmed(image: Image.Image) -> np.ndarray:
    """The drawn part, centred in a square of ICON_SIZE."""
    part = image.crop(image.getchannel("A").point(lambda alpha: 255 if alpha > 10 else 0).getbbox())
    side = max(part.size)
    square = Image.new("RGBA", (side, side))
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
    return np.asarray(square.resize((ICON_SIZE, ICON_SIZE), Image.Resampling.LANCZOS))


def _draw_faces(modules: Path, labels: list[dict]) -> np.ndarray:
    script = modules.parent / "faces.mjs"
    script.write_text(files("diffusers_persona.toybox").joinpath("faces.mjs").read_text())
    options = json.dumps([label["options"] for label in labels])
    done = subprocess.run(["node", script.name], cwd=script.parent, input=options, capture_output=True, text=True)
    if done.returncode:
        raise PersonaError(f"drawing the faces failed: {done.stderr.strip().splitlines()[-1]}")
    reduced = (
        _rasterise(svg, 128).resize((FACE_SIZE, FACE_SIZE), Image.Resampling.LANCZOS)
        for svg in json.loads(done.stdout)
    )
    return np.stack([np.asarray(image) for image in reduced])
