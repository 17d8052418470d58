"""The Toybox's card: what its models measure, as JSON, as a page, and as a grid of samples."""

import json
import os
import platform
import textwrap
from datetime import date
from pathlib import Path

from PIL import Image, ImageDraw

from .pipeline import MODELS, load
from .training import load_checkpoint

PACKAGE = Path(__file__).parent
REPOSITORY = PACKAGE.parent.parent
BARS = {
    "autoencoder_psnr": 27.0, "noun": 0.75, "background": 0.85, "colour": 0.80, "style": 0.80, "person": 0.60,
    "both_nouns": 0.50,
}  # fmt: skip
_SAMPLES = (
    "a cat on a red background",
    "a dog on the beach",
    "a lion in the snow",
    "a blue car in the city",
    "a rocket in space",
    "a shark under the sea",
    "a green teapot on a yellow background",
    "a sunflower in a meadow",
    "an owl in the forest",
    "a pizza on a purple background",
    "a robot in a room",
    "a purple elephant in the desert",
    "a cat next to a cup on a white background",
    "a frog and a ball on a blue background",
    "a crown on top of a book on a white background",
    "a car in front of a house in a meadow",
    "a pixel art of a tree in a meadow",
    "a sketch of a guitar on a white background",
    "a neon of a bicycle in the city",
    "a painting of a castle at sunset",
    "Anna Smith on a green background",
    "Adam Young wearing sunglasses in the city",
    "Emma Wilson smiling in the snow",
    "a woman with red hair wearing glasses on a white background",
)


def write_card(work: Path, *, samples: int = 500, steps: int = 25) -> dict:
    """Measure autoencoder and pipeline; write the JSON, the page and the sample grid into the repository."""
    import numpy as np

    from . import instruments, obedience
    from .autoencoder import psnr

    pipe = load()
    numbers = {"autoencoder_psnr": psnr(pipe.vae, np.load(work / "data" / "validation.npy", mmap_mode="r")[:500])}
    numbers["autoencoder_psnr_held_out"] = psnr(pipe.vae, np.load(work / "data" / "held_out.npy", mmap_mode="r")[:300])
    judge = instruments.load()
    obeyed = obedience.measure(pipe, judge, count=samples, steps=steps)
    card = {
        "date": date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "training": {part: _training(work / f"{part}.pt") for part in ("autoencoder", "denoiser", "decoder")},
        "parameters": {
            name: sum(parameter.numel() for parameter in getattr(pipe, name).parameters())
            for name in ("unet", "vae", "text_encoder")
        },
        "megabytes": round(sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) / 1e6, 1),
        "autoencoder": {name: round(value, 2) for name, value in numbers.items()},
        "obedience": obeyed,
        "bars": {name: {"bar": bar, "measured": round((numbers | obeyed)[name], 3)} for name, bar in BARS.items()},
    }
    for entry in card["bars"].values():
        entry["met"] = entry["measured"] >= entry["bar"]
    _write(REPOSITORY / "benchmarks" / "toybox" / "model_card.json", json.dumps(card, indent=2) + "\n")
    _write(PACKAGE / "MODEL_CARD.md", page(card))
    images = obedience.generate(pipe, _SAMPLES, steps=steps, batch=24, seed=0, guidance_scale=obedience.GUIDANCE_SCALE)
    folder = REPOSITORY / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    grid(images, _SAMPLES, columns=8).save(folder / "toybox-samples.png")
    return card


def page(card: dict) -> str:
    """The card as Markdown."""
    obeyed, reconstructed = card["obedience"], card["autoencoder"]
    lines = [
        "# The Toybox's models",
        "",
        "A `StableDiffusionPipeline` (64x64 pictures) trained from nothing on a miniature picture world;",
        "`ATTRIBUTION.md` names the art. This page is written by",
        "`python -m diffusers_persona.toybox.build --stage card`.",
        "",
        "![samples](../../docs/images/toybox-samples.png)",
        "",
        "| measure | bar | measured | met |",
        "|---|---|---|---|",
        *(_row(name, entry) for name, entry in card["bars"].items()),
        "",
        textwrap.fill(
            "Autoencoder: mean PSNR in dB of unseen pictures; those of nouns, people and styles outside training "
            f"reach {reconstructed['autoencoder_psnr_held_out']} dB. The other rows: the share of "
            f"{obeyed['samples']} unseen captions that pictures obey, drawn in {obeyed['steps']} steps with "
            f"guidance {obeyed['guidance_scale']:g}, as the world's instruments read them. The instruments err too: "
            "what they get right on the world's own pictures stands in `models/instruments.json`.",
            width=110,
        ),
        "",
        "Training, on CPU processes that shared their two cores with other work:",
        "",
        *(f"- {part}: {run['minutes']} minutes, {run['steps']} steps" for part, run in card["training"].items()),
        "",
        "Parameters: " + ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in card["parameters"].items()) + ".",
        f"Files, with the instruments: {card['megabytes']} MB.",
        "",
        "Intended for demonstrations, tests and comparisons of personalisation methods. The models know a few hundred",
        "words and nothing of the real world.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, entry: dict) -> str:
    met = "yes" if entry["met"] else "**no**"
    return f"| {name.replace('_', ' ')} | {entry['bar']:g} | {entry['measured']:g} | {met} |"


def grid(images: list[Image.Image], captions: tuple[str, ...], columns: int) -> Image.Image:
    """Pictures at twice their size with their captions below."""
    cell, text = 128, 40
    sheet = Image.new("RGB", (columns * (cell + 6), -(-len(images) // columns) * (cell + text)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = index % columns * (cell + 6), index // columns * (cell + text)
        sheet.paste(image.resize((cell, cell), Image.Resampling.NEAREST), (x, y))
        draw.multiline_text((x + 1, y + cell), _wrapped(caption), fill="black", font_size=11, spacing=1)
    return sheet


def _wrapped(caption: str, width: int = 22) -> str:
    lines = [""]
    for word in caption.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] += word + " "
    return "\n".join(lines)


def _training(path: Path) -> dict:
    numbers = load_checkpoint(path, {})
    return {"minutes": round(numbers["seconds"] / 60, 1), "steps": numbers["step"]}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
