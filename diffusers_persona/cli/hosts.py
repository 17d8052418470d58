"""Open base models, pictures and concepts by the words a user types."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from diffusers_persona.errors import PersonaError

from .options import DEVICES, KINDS, PRECISIONS, one_of

TOYBOX = "toybox"
TOYBOX_GUIDANCE = 4.0


def open_base(name: str, *, device: str = "auto", precision: str = "fp32") -> Any:
    """Load a stock pipeline and put it on a device.

    Args:
        name: ``"toybox"``, a folder with ``model_index.json``, or a Hub id.
        device: ``"auto"`` takes CUDA, then MPS, then the CPU.
        precision: element type of the weights; ``"auto"`` is what learning on this model and device takes.

    Raises:
        PersonaError: there is no such model, or it cannot be loaded; one line with the reason.
    """
    from diffusers_persona import backbones
    from diffusers_persona.training.precision import AUTO, resolve

    _hush()
    one_of(device, DEVICES, "--device")
    one_of(precision, PRECISIONS, "--precision")
    place = _device(device)
    pipe = _load(name, "bf16" if precision == AUTO else precision)
    if precision == AUTO and (chosen := resolve(AUTO, miniature=backbones.of(pipe).miniature, device=place)) != "bf16":
        pipe = _load(name, chosen)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(place)


def _load(name: str, precision: str) -> Any:
    from diffusers_persona.training.precision import PRECISIONS as TYPES

    if name == TOYBOX:
        from diffusers_persona import toybox

        return toybox.load().to(dtype=TYPES[precision])
    return _from_pretrained(name, TYPES[precision])


def guidance_of(base: str, guidance: float | None) -> float | None:
    """The user's guidance scale, else the Toybox's, else None for the pipeline's own."""
    return TOYBOX_GUIDANCE if guidance is None and base == TOYBOX else guidance


def _hush() -> None:
    """Leave out the libraries' loading bars and their advice to programmers; download bars of the Hub stay."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def _from_pretrained(name: str, dtype) -> Any:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    if Path(name).is_dir() and not (Path(name) / "model_index.json").is_file():
        raise PersonaError(f"--base {name} has no model_index.json: give a folder that `pipe.save_pretrained` wrote")
    if Path(name).is_file():
        raise PersonaError(
            f"--base {name} is a file: convert it with from_single_file and save_pretrained, then give the folder"
        )
    try:
        return DiffusionPipeline.from_pretrained(name, dtype=dtype)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise PersonaError(
            f"cannot load the base model {name!r}: {reason}; give a diffusers folder, a Hub id or toybox"
        ) from error


def _device(name: str) -> str:
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, usable in available.items() if usable)
    if not available[name]:
        raise PersonaError(f"--device {name}: this machine (or this torch build) has none; try --device cpu")
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """What to learn: pictures (a path or a list of paths), noun and kind; more where it is a Toybox concept, `toy`.

    `true_name` is its name in the Toybox's classifiers; `templates` replace the recipe's prompts of learning.
    """

    images: Any
    noun: str
    kind: str
    name: str
    toy: Any = None
    true_name: str = ""
    templates: tuple[str, ...] | None = None


def open_subject(images: str, noun: str | None, kind: str | None) -> Subject:
    """Read IMAGES: a picture, a folder of pictures, or ``toybox:NAME`` for a held-out concept of the Toybox.

    Raises:
        PersonaError: nothing is there, the noun is missing, or the kind is unknown.
    """
    if images.startswith(TOYBOX + ":"):
        from diffusers_persona import toybox

        toy = toybox.concept(images.partition(":")[2])
        kind = one_of(kind or toy.kind, KINDS, "--kind")
        return Subject(
            images=list(toy.references),
            noun=noun or toy.noun,
            kind=kind,
            name=toy.name,
            toy=toy,
            true_name=toy.true_name,
            templates=_templates(kind),
        )
    if not Path(images).exists():
        raise PersonaError(f"{images} does not exist; give a picture, a folder of pictures, or toybox:NAME")
    if not noun:
        raise PersonaError("--noun is missing: say what the pictures show, e.g. --noun dog")
    return Subject(images=images, noun=noun, kind=one_of(kind or "object", KINDS, "--kind"), name=Path(images).stem)


def _templates(kind: str) -> tuple[str, ...] | None:
    from diffusers_persona.evaluation.host import TEMPLATES

    return TEMPLATES.get(kind)


def open_concepts(paths: list[str]) -> list[Any]:
    """Load concepts from their folders or Hub ids, and from others' files (see `Concept.from_file`).

    Raises:
        PersonaError: one of them is no concept.
    """
    from diffusers_persona.concept import HEADER_FILE, Concept

    def opened(path: str):
        foreign = Path(path).is_file() or (Path(path).is_dir() and not (Path(path) / HEADER_FILE).exists())
        return Concept.from_file(path) if foreign else Concept.from_pretrained(path)

    return [opened(path) for path in paths]
