"""A step of learning against the bare forward and backward pass of the same model, batch and trainable set."""

from __future__ import annotations

import timing
import torch

import diffusers_persona as dp
from diffusers_persona import backbones
from diffusers_persona.recipe import get
from diffusers_persona.spaces import Subject


class Bare:
    """Forward and backward of what a recipe trains, with everything else prepared beforehand: the floor of a step."""

    def __init__(self, pipe, recipe: str, *, noun="animal", resolution=None, rows=None):
        host = backbones.of(pipe)
        entry = get(recipe)
        declared = entry.build(**entry.resolve({}, miniature=host.miniature))
        self.host = host.private_clone(dtype=torch.float32)
        token = "<bare>" if any(space.adds_token for space in declared.space) else "sks"
        learners = [space.prepare(self.host, Subject(token=token, noun=noun)) for space in declared.space]
        self.parameters = [p for learner in learners for p in learner.parameters.values()]
        rows = rows or declared.method.batch_size
        self.prior = declared.method.class_pictures > 0
        side = (resolution or host.resolution) // pipe.vae_scale_factor
        self.noisy = torch.randn(rows * (1 + self.prior), self.host.denoiser.config.in_channels, side, side)
        self.target, self.timesteps = torch.randn_like(self.noisy), torch.randint(0, 1000, (len(self.noisy),))
        prompts = [f"a photo of a {token}"] * rows + [f"a {noun}"] * (rows * self.prior)
        self.learns_text = any(space.adds_token or space.trains_text for space in declared.space)
        self.ids = self.host.tokenize([f"a photo of the {token} {n}" for n in range(rows)])
        with torch.no_grad():
            self.fixed = self.host.encode_text(self.host.tokenize(prompts))

    def __call__(self):
        """One pass; gradients are dropped."""
        conditions = self.fixed
        if self.learns_text:
            learned = self.host.encode_text(self.ids)
            conditions = {k: torch.cat([v, self.fixed[k][len(v) :]]) for k, v in learned.items()}
        prediction = self.host.denoise(self.noisy, self.timesteps, conditions)
        torch.nn.functional.mse_loss(prediction, self.target).backward()
        for parameter in self.parameters:
            parameter.grad = None


def measure(recipe: str, pipe, pictures, *, name: str, steps: int, noun="animal", resolution=None, prior_images=None):
    """Learns `steps` steps with `recipe` and takes a bare pass after each; writes the row."""
    bare = Bare(pipe, recipe, noun=noun, resolution=resolution)
    turns = timing.Turns(bare)
    settings = dict(precision="fp32", progress=False, callback=turns, resolution=resolution, steps=steps)
    dp.learn(pipe, pictures, recipe, noun=noun, prior_images=prior_images if bare.prior else None, **settings)
    return timing.put(
        f"step {recipe} {name}",
        what=f"a learning step of {recipe} / bare forward+backward, {name}",
        target="<= 1.05",
        **timing.ratio(turns.steps[2:], turns.seconds[0][3:]),
    )


def toybox(recipes, steps: int):
    """Every recipe on the Toybox, with its own numbers for miniature hosts."""
    pipe, concept = dp.toybox.load(), dp.toybox.concept("hedgehog")
    for recipe in recipes:
        classes = dp.toybox.class_pictures(concept.noun)
        measure(recipe, pipe, concept.folder, name="toybox", steps=steps, noun=concept.noun, prior_images=classes)
