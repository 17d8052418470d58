"""Builds the Toybox's LoRA-merging network (LoRA.rar): learns LoRAs of things and styles that the world knows, and
trains the network on their pairs. Held-out things and styles have no part in it.

    python -m diffusers_persona.toybox.merging_build
"""

from __future__ import annotations

from pathlib import Path

from .pipeline import MODELS, load

FILE = MODELS / "lora_merging.safetensors"
SUBJECTS = {"cat": "animal", "car": "vehicle", "robot": "toy", "castle": "building"}
STYLES = ("sketch", "pixel art", "painting", "neon")
PLACES = ("on the beach", "in the snow", "on a red background", "in a meadow")
THINGS = ("a dog", "a house", "a guitar", "a boat")


def build(file: Path = FILE, *, epochs: int = 12, seed: int = 0, report=print) -> Path:
    """Writes the network to `file`; takes some ten minutes on one core.

    Args:
        epochs: passes over the pairs of a subject and a style.
        report: gets a line of progress now and then.
    """
    from safetensors.torch import save_file

    import diffusers_persona

    from ..schemes import train_merging_network
    from .styles import apply_style

    pipe = load()
    pipe.set_progress_bar_config(disable=True)
    learned = {}
    for name, noun in SUBJECTS.items():
        pictures = _draw(pipe, [f"a {name} {place}" for place in PLACES], seed)
        learned[name] = pictures, _learn(diffusers_persona, pipe, pictures, "sks", noun, None, seed)
        report(f"learned {name}")
    for style in STYLES:
        pictures = [apply_style(picture, style) for picture in _draw(pipe, THINGS, seed)]
        templates = ("a {phrase}", "a {phrase} of a thing")
        learned[style] = pictures, _learn(diffusers_persona, pipe, pictures, "ktn", "style", templates, seed)
        report(f"learned {style}")
    pairs = [
        (learned[name][1], learned[style][1], learned[name][0], learned[style][0])
        for name in SUBJECTS
        for style in STYLES
    ]

    def progress(done, of):
        if done % len(pairs) == 0:
            report(f"{done} of {of} steps")

    network = train_merging_network(pipe, pairs, epochs=epochs, lr=1e-3, seed=seed, report=progress)
    save_file({name: tensor.contiguous() for name, tensor in network.items()}, file)
    return file


def _learn(library, pipe, pictures, token, noun, templates, seed):
    options = dict(token=token, noun=noun, templates=templates, seed=seed, progress=False)
    return library.learn(pipe, pictures, "lora-rar", **options)


def _draw(pipe, prompts, seed):
    import torch

    generators = [torch.Generator().manual_seed(seed + n) for n in range(len(prompts))]
    return pipe(list(prompts), generator=generators, num_inference_steps=25, guidance_scale=4.0).images


if __name__ == "__main__":
    build()
