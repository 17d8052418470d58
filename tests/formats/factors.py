"""Random adapters for the layers of tiny pipelines, spelt as trainers spell them, and pictures to compare."""

import zlib

import numpy as np
import torch

from diffusers_persona.testing import tiny_pipeline

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
CONVOLUTIONS = ("conv1", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1")
PIPES = {}


def pipe_of(family):
    """The tiny pipeline of a family, one for all tests of a process: attaching leaves no trace."""
    if family not in PIPES:
        PIPES[family] = tiny_pipeline(family)
    return PIPES[family]


def draw(pipe, prompt="a photo of cat"):
    """A float array [1, 32, 32, 3]; the same noise each time."""
    options = dict(num_inference_steps=2, height=32, width=32, output_type="np", guidance_scale=4.0)
    return np.asarray(pipe(prompt, generator=torch.Generator().manual_seed(0), **options).images)


def layers(root, endings):
    """Names of the layers of a network that end so."""
    return [
        name for name, module in root.named_modules() if name.endswith(tuple(endings)) and hasattr(module, "weight")
    ]


def factors(root, name, rank=4, dtype=torch.float32):
    """A and B of a layer, reproducible by its name."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    weight = root.get_submodule(name).weight
    down = torch.randn(rank, *weight.shape[1:], generator=generator) * 0.3
    up = torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=generator) * 0.3
    return down.to(dtype), up.to(dtype)


def product(down, up):
    """B A, by the plain formula."""
    return torch.einsum("or,r...->o...", up.float().flatten(1), down.float())


def flat(name):
    """A layer's name as kohya writes it."""
    return name.replace(".", "_")


def weights(pipe, concept, component, names):
    """What `concept` adds to the weights of these layers."""
    root = getattr(pipe, component)
    stock = {name: root.get_submodule(name).weight.detach().clone() for name in names}
    with concept.attach(pipe):
        return {name: root.get_submodule(name).weight.detach() - stock[name] for name in names}


def stock_picture(pipe, path, **options):
    """What stock diffusers draws with a LoRA file."""
    pipe.load_lora_weights(str(path), **options)
    try:
        return draw(pipe)
    finally:
        pipe.unload_lora_weights()
