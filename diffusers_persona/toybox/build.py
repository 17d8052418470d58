"""Builds the Toybox: `python -m diffusers_persona.toybox.build --work DIR` draws its world and trains its models."""

import json
import multiprocessing
import os
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from diffusers_persona.errors import PersonaError

from . import art, autoencoder, data, denoiser, parallel
from .captions import parse, with_empty_words
from .pipeline import MODELS, assemble, export
from .training import load_checkpoint
from .world import World, build_folder

PICTURES, EXTRAS, VALIDATION, HELD_OUT = 100_000, 15_000, 2_000, 1_000
ENCODED = 60_000
"""How many of the training pictures the denoiser learns from."""
AUTOENCODER_MINUTES, DECODER_MINUTES, DENOISER_MINUTES = 16.5, 12.5, 71.0


class Stage(StrEnum):
    """The stages in their order."""

    ART = "art"
    DATA = "data"
    AUTOENCODER = "autoencoder"
    DENOISER = "denoiser"
    DECODER = "decoder"
    EXPORT = "export"
    INSTRUMENTS = "instruments"
    CONCEPTS = "concepts"
    CARD = "card"


def build_pictures(work: Path) -> None:
    """Render all pictures and write the tokenizer."""
    from .tokenizer import build_tokenizer

    data.render_pictures(work, "train", PICTURES, seed=1)
    data.render_extras(work, "extras", EXTRAS, seed=1)
    data.render_pictures(work, "validation", VALIDATION, seed=2)
    data.render_pictures(work, "held_out", HELD_OUT, seed=3, held_out=True)
    build_tokenizer(work / "tokenizer")


def build_autoencoder(work: Path, minutes: float, seed: int, processes: int) -> None:
    """Train the autoencoder and scale its latents to unit standard deviation."""
    parallel.launch(_train_autoencoder, processes, work, minutes, seed)
    model = autoencoder.new_autoencoder()
    load_checkpoint(work / "autoencoder.pt", {"ema": model})
    mean, std = autoencoder.encode(model, _pictures(work, "validation"))
    spread = (mean.float().var() + std.float().square().mean()).sqrt().item()
    model.register_to_config(scaling_factor=round(1 / spread, 5))
    model.save_pretrained(work / "autoencoder")
    (work / "latents.pt").unlink(missing_ok=True)


def _train_autoencoder(work: Path, minutes: float, seed: int) -> None:
    autoencoder.train_autoencoder(_autoencoder_pictures(work), work, minutes=minutes, seed=seed)


def _autoencoder_pictures(work: Path) -> np.ndarray:
    return np.concatenate([_pictures(work, "train")[:60_000], _pictures(work, "extras")[:9_000]])


def build_decoder(work: Path, minutes: float, seed: int, processes: int) -> None:
    """Let the decoder alone learn on; latents, and so the denoiser, stay valid."""
    parallel.launch(_train_decoder, processes, work, minutes, seed)
    model = load_autoencoder(work)
    load_checkpoint(work / "decoder.pt", {"ema": model})
    model.save_pretrained(work / "autoencoder")


def _train_decoder(work: Path, minutes: float, seed: int) -> None:
    autoencoder.train_autoencoder(
        _decoder_pictures(work), work, minutes=minutes, seed=seed, lr=1e-3, decoder_of=load_autoencoder(work)
    )


def _decoder_pictures(work: Path) -> np.ndarray:
    """A third of the autoencoder's pictures, and all in the two styles whose fine marks it learns last."""
    pictures, extras = _pictures(work, "train"), _pictures(work, "extras")
    captions = json.loads((work / "data" / "train.json").read_text())
    marked = [index for index, caption in enumerate(captions) if parse(caption).style in ("painting", "pixel art")]
    return np.concatenate([pictures[:20_000], pictures[marked], extras[:3_000]])


def load_autoencoder(work: Path):
    """The trained autoencoder of `work`."""
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(work / "autoencoder")


def build_denoiser(work: Path, minutes: float, seed: int, processes: int) -> None:
    """Encode the pictures once, then train UNet and text encoder on their latents."""
    if not (work / "latents.pt").is_file():
        _write_latents(work, processes)
    parallel.launch(_train_denoiser, processes, work, minutes, seed)


def _train_denoiser(work: Path, minutes: float, seed: int) -> None:
    latents = torch.load(work / "latents.pt", weights_only=True, mmap=True)
    denoiser.train_denoiser(latents, work, minutes=minutes, seed=seed)


def _write_latents(work: Path, processes: int) -> None:
    from transformers import CLIPTokenizer

    scale = load_autoencoder(work).config.scaling_factor
    starts = range(0, ENCODED, 2000)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(_encode_part, [work] * len(starts), starts))
    mean, std = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True))
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    rng = random.Random(0)
    captions = json.loads((work / "data" / "train.json").read_text())[:ENCODED]
    tokens = tokenizer([with_empty_words(caption, rng) for caption in captions], padding="max_length", truncation=True)
    latents = {
        "mean": mean * scale,
        "std": std * scale,
        "tokens": torch.tensor(tokens["input_ids"], dtype=torch.int16),
        "empty": torch.tensor(tokenizer("", padding="max_length")["input_ids"]),
        "vocabulary": len(tokenizer),
    }
    temporary = work / "latents.tmp"
    torch.save(latents, temporary)
    os.replace(temporary, work / "latents.pt")


def _encode_part(work: Path, start: int) -> tuple[np.ndarray, np.ndarray]:
    torch.set_num_threads(1)
    mean, std = autoencoder.encode(load_autoencoder(work), _pictures(work, "train")[start : start + 2000])
    return mean.numpy(), std.numpy()


def export_pipeline(work: Path, folder: Path = MODELS / "pipeline") -> None:
    """Save the pipeline of the averaged weights of the newest checkpoint as fp16 in `folder`."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    model = denoiser.Denoiser(len(tokenizer))
    if not load_checkpoint(work / "denoiser.pt", {"ema": model}):
        raise PersonaError(f"no checkpoint {work / 'denoiser.pt'}: run the stage 'denoiser' first")
    export(assemble(load_autoencoder(work), model, tokenizer), folder)


def build_instruments(work: Path) -> None:
    """Train the scorers and measure them on real pictures."""
    from .instruments.build import train_instruments

    train_instruments(work)


def build_shipped_concepts(work: Path) -> None:
    """Render the held-out concepts and the class pictures into the package."""
    from .class_sets import build_class_pictures
    from .held_out import FOLDER
    from .held_out_build import build_concepts

    world = World.open(work / "art")
    build_concepts(world, FOLDER)
    build_class_pictures(world)


def build_card(work: Path) -> None:
    """Measure the models and write their card."""
    from .card import write_card

    write_card(work)


def _pictures(work: Path, name: str) -> np.ndarray:
    path = work / "data" / f"{name}.npy"
    if not path.is_file():
        raise PersonaError(f"no pictures {path}: run the stage 'data' first")
    return np.load(path, mmap_mode="r")


def build(
    work: Annotated[Path | None, typer.Option(help="Folder for art, pictures, checkpoints and logs.")] = None,
    stage: Annotated[list[Stage] | None, typer.Option(help="Only this stage; repeat it for several.")] = None,
    autoencoder_minutes: Annotated[
        float, typer.Option(help="Training time of the autoencoder.")
    ] = AUTOENCODER_MINUTES,
    decoder_minutes: Annotated[float, typer.Option(help="Training time of the decoder alone.")] = DECODER_MINUTES,
    minutes: Annotated[
        float, typer.Option(help="Training time of the denoiser, all runs together.")
    ] = DENOISER_MINUTES,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and noise.")] = 0,
    processes: Annotated[int, typer.Option(help="Training processes, one CPU thread each.")] = 2,
) -> None:
    """Draw the Toybox's world and train its models, into the installed package.

    Every stage keeps what is done and resumes what is not; checkpoints are written every three minutes. Training time
    is wall time: a stage that was stopped goes on with what is left of it.

    Examples:

      python -m diffusers_persona.toybox.build --work build/toybox

      python -m diffusers_persona.toybox.build --work build/toybox --stage denoiser --stage export --minutes 240
    """
    work = (work or build_folder()).resolve()
    stages: dict[Stage, Callable[[], object]] = {
        Stage.ART: lambda: art.build_art(work),
        Stage.DATA: lambda: build_pictures(work),
        Stage.AUTOENCODER: lambda: build_autoencoder(work, autoencoder_minutes, seed, processes),
        Stage.DENOISER: lambda: build_denoiser(work, minutes, seed, processes),
        Stage.DECODER: lambda: build_decoder(work, decoder_minutes, seed, processes),
        Stage.EXPORT: lambda: export_pipeline(work),
        Stage.INSTRUMENTS: lambda: build_instruments(work),
        Stage.CONCEPTS: lambda: build_shipped_concepts(work),
        Stage.CARD: lambda: build_card(work),
    }
    for name in stage or list(Stage):
        typer.echo(f"toybox: {name}")
        try:
            stages[name]()
        except PersonaError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(build)
