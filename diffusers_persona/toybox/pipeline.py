"""The world's pipeline: assembled from trained parts, saved in fp16, loaded in fp32."""

import copy
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from diffusers_persona.errors import PersonaError

MODELS = Path(__file__).parent / "models"


def load(folder: str | Path | None = None):
    """The embedded StableDiffusionPipeline (64x64 pictures, fp32, CPU, no progress bar); `folder` loads another."""
    import torch
    from diffusers import StableDiffusionPipeline

    folder = Path(folder or MODELS / "pipeline")
    if not (folder / "model_index.json").is_file():
        raise PersonaError(f"no Toybox pipeline in {folder}: install the package again or train one (toybox.build)")
    with _quietly():
        pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=torch.float32)
    if folder == MODELS / "pipeline":
        pipe.register_to_config(_name_or_path="toybox")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def _quietly():
    """No warnings about absent optional parts and no progress bars, for an instant."""
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (verbosity, bar) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bar:
                library.enable_progress_bar()


def assemble(autoencoder, denoiser, tokenizer):
    """A StableDiffusionPipeline of trained parts, in fp32."""
    from diffusers import StableDiffusionPipeline

    from .denoiser import new_scheduler

    return StableDiffusionPipeline(
        vae=autoencoder.eval(),
        text_encoder=denoiser.text_encoder.eval(),
        tokenizer=tokenizer,
        unet=denoiser.unet.eval(),
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(pipe, folder: Path) -> None:
    """Save a copy of `pipe` in fp16 as `folder`, replacing what is there in one move."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    half = type(pipe)(**{name: _half(part) for name, part in pipe.components.items()}, requires_safety_checker=False)
    half.save_pretrained(temporary)
    for config in temporary.rglob("*.json"):
        _forget_origin(config)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)


def _forget_origin(config: Path) -> None:
    """A shipped config does not tell where its model lay when it was built."""
    content = json.loads(config.read_text())
    if content.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _half(part):
    return copy.deepcopy(part).half() if hasattr(part, "half") else part
