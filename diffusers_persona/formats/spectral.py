"""Spectral shifts of SVDiff: the files of mkshing/svdiff-pytorch, one for the UNet and one for the text encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import PersonaError
from . import lora_keys
from .base import Format, Hints, Loaded, LoadReport

if TYPE_CHECKING:
    from .contents import Contents

UNET_FILE, TEXT_FILE = "spectral_shifts.safetensors", "spectral_shifts_te.safetensors"
SHIFT = ".delta"


def is_shifts(contents: Contents) -> bool:
    """Whether every tensor is a vector called ``<module>.delta``."""
    infos = contents.infos
    return bool(infos) and all(key.endswith(SHIFT) and len(info.shape) == 1 for key, info in infos.items())


def load(contents: Contents, hints: Hints) -> Loaded:
    """Shifts of matrices and kernels, and of normalisation layers; with the text encoder's file where it lies beside.

    Raises:
        PersonaError: for a key of a layer of no network that we know.
    """
    from ..spaces import Spectral, SpectralVectors
    from .contents import read

    files = [contents]
    beside = contents.path.with_name(TEXT_FILE)
    if contents.path.name == UNET_FILE and beside.is_file():
        files.append(read(beside))
    shifts, matched = {}, []
    for file in files:
        for key, shift in file.tensors.items():
            paths = lora_keys.resolve(key.removesuffix(SHIFT))
            if len(paths) != 1:
                raise PersonaError(
                    f"{file.path}: {key!r} is a shift of no layer that we know; is it of Stable Diffusion?"
                )
            shifts[f"{paths[0]}{SHIFT}"] = shift.float()
            matched.append(key)
    text = any(path.startswith("text_encoder") for path in shifts)
    split = {False: {}, True: {}}
    for path, shift in shifts.items():
        split["norm" in path.removesuffix(SHIFT).rpartition(".")[2]][path] = shift
    spaces, tensors = [], {}
    for kind, own in ((Spectral, split[False]), (SpectralVectors, split[True])):
        if own:
            tensors |= {f"{len(spaces)}.{kind.kind}.{path}": shift for path, shift in own.items()}
            spaces.append(kind(text_encoders=text))
    return Loaded(spaces=spaces, tensors=tensors, report=LoadReport(matched=tuple(matched)))


def save(concept, **wishes) -> dict[str, bytes] | None:
    """The two files; None for a concept that changes a second text encoder, which the layout has no file for."""
    from safetensors.torch import save as pack

    files: dict[str, dict] = {UNET_FILE: {}, TEXT_FILE: {}}
    for i, space in enumerate(concept.spaces):
        if space.kind in ("spectral", "spectral_vectors"):
            for key, shift in concept.tensors_of(i).items():
                component, _, name = key.partition(".")
                if component not in ("unet", "text_encoder"):
                    return None
                if component == "text_encoder" and not name.startswith("text_model."):
                    name = f"text_model.{name}"
                files[UNET_FILE if component == "unet" else TEXT_FILE][name] = shift.contiguous()
    return {name: pack(content, metadata={"format": "pt"}) for name, content in files.items() if content}


def _facts(contents: Contents) -> dict[str, Any]:
    return {"layers": len(contents.infos), "numbers": sum(info.shape[0] for info in contents.infos.values())}


FORMATS = (
    Format(
        kind="spectral-shifts",
        title="SVDiff spectral shifts (svdiff-pytorch)",
        layout="`<module>.delta` [n]; `spectral_shifts_te.safetensors` beside it for the text encoder",
        recognise=is_shifts,
        load=load,
        save=save,
        writes=("original",),
        holds=("spectral", "spectral_vectors"),
        facts=_facts,
    ),
)
