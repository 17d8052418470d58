"""A learning step of any recipe against the model passes that its maths needs, and nothing else.

The passes of each step (text encoders, denoiser, frozen twin, VAE, and the networks that losses ask) are written down
as the loop makes them, and then made again alone, forward and backward, on the same rows. What a step adds to them is
the recipe's own arithmetic and the loop. Attention maps are no part of the floor: it runs the fused attention that a
step without maps would.
"""

from __future__ import annotations

import contextlib

import timing
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

import diffusers_persona as dp
from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation import lessons
from diffusers_persona.evaluation.boards import board_name, concepts_of
from diffusers_persona.evaluation.host import toybox_host
from diffusers_persona.recipe import get
from diffusers_persona.training import preparing

BAR, BAR_WITH_MAPS = 1.10, 1.35
WATCHED = 2
"""The step whose networks count for all; steps up to it are not timed."""
METHODS = ("encode_images", "encode_text", "denoise", "decode_latents")


class Passes:
    """The passes of the last step of a run, callable: makes them again, and forgets them."""

    def __init__(self):
        self.calls, self.seen, self.loop, self.own = [], [], None, False
        self.further, self.steps, self.depth, self.outer, self.hooks = [], 0, 0, None, []

    def watch(self, loop):
        """Writes down what the hosts of `loop` are asked for."""
        self.loop = loop
        for role, host in (("learns", loop.host), ("frozen", loop.stock)):
            for name in METHODS if host is not None else ():
                setattr(host, name, self._watched(role, name, getattr(host, name)))
        for learner in loop.learners.values():
            if learner.follow is not None:
                learner.follow = self._watched("learns", "follow", learner.follow)
        self.hooks = [
            torch.nn.modules.module.register_module_forward_pre_hook(self._entered),
            torch.nn.modules.module.register_module_forward_hook(self._left),
        ]
        return loop

    def _entered(self, module, arguments):
        """Writes down a network that is asked for itself, not as a part of a pass."""
        if not (self.own or self.depth or self.outer):
            self.outer = module
            self.further.append(("asked", "network", module, arguments, {}, torch.is_grad_enabled()))

    def _left(self, module, arguments, output):
        self.outer = None if module is self.outer else self.outer

    def _watched(self, role, name, method):
        def watched(*arguments, **options):
            if not (self.own or self.depth):
                self.calls.append((role, name, method, arguments, options, torch.is_grad_enabled()))
            self.depth += 1
            try:
                return method(*arguments, **options)
            finally:
                self.depth -= 1

        return watched

    def __call__(self):
        """The passes of the step that just ended, without anything else."""
        self._learn_of_networks()
        self.calls += self.further
        self.seen = [(role, name, graded) for role, name, _, _, _, graded in self.calls]
        with self._alone():
            outputs, link = [], 0.0
            for _, name, method, arguments, options, graded in self.calls:
                with torch.set_grad_enabled(graded):
                    found = method(*(_again(a, link) for a in arguments), **_again(options, link))
                if name in ("follow", "encode_images"):
                    continue
                if name == "encode_text":
                    learned = [each for each in found.values() if each.requires_grad]
                    link = link + sum(0.0 * each.mean() for each in learned)
                elif isinstance(found, torch.Tensor) and found.requires_grad:
                    outputs.append(found.float().square().mean())
            if outputs:
                sum(outputs).backward()
        self.calls.clear()
        for parameter in self.loop.parameters.values():
            parameter.grad = None

    def _learn_of_networks(self):
        """The first steps tell which networks the losses ask; watching every module would slow the others down."""
        self.steps += 1
        if self.steps < WATCHED:
            self.further.clear()
        elif self.steps == WATCHED:
            for hook in self.hooks:
                hook.remove()

    @contextlib.contextmanager
    def _alone(self):
        """No pass is written down, and cross-attention keeps no maps."""
        self.own, kept = True, {}
        if self.loop.store is not None:
            for path in self.loop.host.attention_layers("cross"):
                layer = self.loop.host.denoiser.get_submodule(path)
                kept[layer], layer.processor = layer.processor, AttnProcessor2_0()
        yield
        self.own = False
        for layer, processor in kept.items():
            layer.processor = processor

    def words(self) -> str:
        """The passes in words: "2 denoiser passes, 1 of them frozen"."""
        denoised = [(role, graded) for role, name, graded in self.seen if name == "denoise"]
        frozen = sum(role == "frozen" or not graded for role, graded in denoised)
        texts = sum(name == "encode_text" for _, name, _ in self.seen)
        pictures = sum(name in ("encode_images", "decode_latents") for _, name, _ in self.seen)
        parts = [f"{len(denoised)} of the denoiser" + (f" ({frozen} without gradient)" if frozen else "")]
        parts += [f"{texts} of the text encoder"] if texts else []
        parts += [f"{pictures} of the VAE"] if pictures else []
        networks = sum(name == "network" for _, name, _ in self.seen)
        parts += [f"{networks} of further networks"] if networks else []
        return ", ".join(parts)


def _again(value, link):
    """An argument of a pass without its past; what depended on learned text depends on the text that was just made."""
    if isinstance(value, dict):
        return {name: _again(each, link) for name, each in value.items()}
    if not isinstance(value, torch.Tensor) or not value.requires_grad:
        return value
    fresh = value.detach().requires_grad_()
    return fresh + link if isinstance(link, torch.Tensor) else fresh


def measure(recipe: str, host, rounds: int):
    """Learns `rounds` steps with `recipe` on the first concept of its board, the passes alone after each."""
    entry = get(recipe)
    declared = entry.build(**entry.resolve({}, miniature=True))
    if not declared.method.steps:
        print(f"recipe {recipe}: learns without steps", flush=True)
        return None
    needs = declared.method.needs
    concept = host.concept(concepts_of(board_name(entry))[0])
    concept = concept if lessons.at_once(declared, concept) else lessons.lessons_of(concept)[0]
    cell = lessons.Cell(recipe=recipe, concept=concept.name, seed=0, numbers={})
    passes = Passes()
    turns = timing.Turns(passes)
    prepare = preparing.prepare
    preparing.prepare = lambda *arguments, **options: passes.watch(prepare(*arguments, **options))

    def callback(done, loss):
        turns(done, loss)
        if done > rounds:
            raise Enough

    try:
        with contextlib.suppress(Enough):
            given = lessons.lesson(cell, concept, host, entry, declared)
            dp.learn(host.pipe, callback=callback, precision="fp32", **given)
    finally:
        preparing.prepare = prepare
    maps = "attention" in needs
    return timing.put(
        f"recipe {recipe}",
        what=f"a step of {recipe} / its model passes alone: {passes.words()}" + (", without maps" if maps else ""),
        target=f"<= {BAR_WITH_MAPS if maps else BAR:.2f}",
        **timing.ratio(turns.steps[2:], turns.seconds[0][3:]),
    )


class Enough(Exception):
    """The run has been timed long enough."""


def toybox(recipes, rounds: int):
    """Every recipe on the Toybox, with its own numbers for miniature hosts; one that cannot be timed is named."""
    host = toybox_host()
    for recipe in recipes:
        try:
            measure(recipe, host, rounds)
        except (PersonaError, ValueError, RuntimeError, TypeError) as error:
            print(f"recipe {recipe}: not timed, {type(error).__name__}: {error}", flush=True)
