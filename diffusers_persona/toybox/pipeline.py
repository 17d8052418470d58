"""The world's pipeline: assembled from trained parts, saved in fp16, loaded in fp32."""

import copy
import os
import shutil
from pathlib import Path

MODELS = Path(__file__).parent / "models"


def load(folder: str | Path | None = None):
    """The embedded StableDiffusionPipeline (64x64 pictures, fp32, CPU, no progress bar); `folder` loads another."""
    import torch
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        pipe = StableDiffusionPipeline.from_pretrained(
            folder or MODELS / "pipeline", torch_dtype=torch.float32, safety_checker=None, low_cpu_mem_usage=False
        )
    finally:
        logging.set_verbosity(verbosity)
    pipe.set_progress_bar_config(disable=True)
    return pipe


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
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)


def _half(part):
    return copy.deepcopy(part).half() if hasattr(part, "half") else part
