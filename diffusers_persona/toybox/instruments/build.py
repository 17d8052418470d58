"""The build stage of the instruments: render, train, export, measure; a part that was stopped is resumed."""

from collections.abc import Callable, Iterable
from pathlib import Path

from . import FOLDER, MODELS, Instruments, attributes, bars, clip, metric, segmenter
from .pictures import PictureSet, draw_face, draw_foreground, draw_instance, draw_sample, render_set

SAMPLES, INSTANCES, FACES = 80_000, 60_000, 40_000


def train_instruments(
    work: Path,
    folder: Path = FOLDER,
    *,
    only: Iterable[str] = MODELS,
    workers: int = 2,
    report: Callable[[str], None] = print,
) -> dict:
    """Train the instruments from `work/art` and `work/tokenizer`, save them as fp16 into `folder`, and measure them.

    `only` names the instruments to train; an instrument already in `folder` is kept unless it is named. Returns the
    measured report, also written to `folder/instruments.json`.
    """
    root = work / "instruments"
    trained = {name: train for name, train in _TRAININGS.items() if name in only}
    for name, train in trained.items():
        report(f"instruments: {name}")
        train(root, folder / name, work, workers)
    report("instruments: measuring")
    measured = bars.measure(Instruments(folder), work / "art", root / "sets", workers=workers)
    return bars.write_bars(folder, measured)


def _set(root: Path, name: str, draw, count: int, seed: int, work: Path, workers: int) -> PictureSet:
    return render_set(root / "sets" / name, draw, count, art=work / "art", seed=seed, workers=workers)


def _samples(root: Path, work: Path, workers: int) -> PictureSet:
    return _set(root, "samples", draw_sample, SAMPLES, 1, work, workers)


def _attributes(root: Path, folder: Path, work: Path, workers: int) -> None:
    pictures = _samples(root, work, workers)
    network = attributes.train(pictures, root / "attributes").eval()
    attributes.refit_style(network, pictures)
    network.save_pretrained(folder)


def _segmenter(root: Path, folder: Path, work: Path, workers: int) -> None:
    segmenter.train(_samples(root, work, workers), root / "segmenter").half().save_pretrained(folder)


def _dino(root: Path, folder: Path, work: Path, workers: int) -> None:
    whole = _set(root, "instances", draw_instance, INSTANCES, 3, work, workers)
    cut = _set(root, "foregrounds", draw_foreground, INSTANCES, 4, work, workers)
    metric.train_dino([whole, cut], root / "dino").half().save_pretrained(folder)


def _face(root: Path, folder: Path, work: Path, workers: int) -> None:
    crops = _set(root, "faces", draw_face, FACES, 5, work, workers)
    metric.train_face(crops, root / "face").save_pretrained(folder)


def _clip(root: Path, folder: Path, work: Path, workers: int) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    clip.train(_samples(root, work, workers), tokenizer, root / "clip").half().save_pretrained(folder)
    clip.processor(tokenizer).save_pretrained(folder)


_TRAININGS = {"attributes": _attributes, "segmenter": _segmenter, "dino": _dino, "face": _face, "clip": _clip}
