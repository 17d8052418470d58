"""`check_recipe`: the contract that every recipe keeps, ours and a plugin's, proved on a tiny real pipeline."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from pathlib import Path

from .errors import PersonaError
from .recipe import get


def check_recipe(name: str, *, backbone: str | None = None, seed: int = 0) -> list[str]:
    """Runs the contract of recipe `name` on tiny pipelines.

    Args:
        name: id of a registered recipe.
        backbone: one family; by default every family that the recipe serves and that has a tiny pipeline.
        seed: of the tiny model and of learning.

    Returns:
        The names of the promises that were proved.

    Raises:
        AssertionError: naming the recipe, the backbone and the promise that is broken.
    """
    entry = get(name)
    families = [backbone] if backbone else [f for f in entry.backbones if f in ("sd", "sdxl")]
    proved = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for family in families:
            trial = _Trial(entry, family, seed, Path(folder) / family)
            for promise in PROMISES:
                try:
                    promise(trial)
                except AssertionError as error:
                    what = promise.__doc__.splitlines()[0]
                    raise AssertionError(f"recipe {name!r} on {family}: {what} {error}") from error
                proved.append(f"{family}: {promise.__name__}")
    return proved


class _Trial:
    """A tiny pipeline, a concept learned on it, and a second concept of another space."""

    def __init__(self, entry, family, seed, folder):
        from .testing import tiny_pictures, tiny_pipeline

        self.entry, self.family, self.seed, self.folder = entry, family, seed, folder
        self.pipe = tiny_pipeline(family, seed=seed)
        self.pictures = tiny_pictures(4, seed=seed)
        self.stock = self.weights()
        self.concept = self.learn()
        self.is_word = any(space.adds_token for space in self.concept.spaces)
        companion = "lora" if self.is_word else "textual-inversion"
        self.other = self.learn(companion, token="red" if self.is_word else "<other>")

    def learn(self, name=None, *, token=None, **options):
        """A concept of two steps: of the recipe on trial, or of the one called `name`."""
        from .testing import short_lesson
        from .training.learn import learn

        lesson = short_lesson(name or self.entry.id, pictures=self.pictures, seed=self.seed, **options)
        before = os.environ.get("PERSONA_CACHE")
        os.environ["PERSONA_CACHE"] = str(self.folder / "cache")
        try:
            return learn(self.pipe, token=token, **lesson)
        finally:
            os.environ.pop("PERSONA_CACHE")
            if before is not None:
                os.environ["PERSONA_CACHE"] = before

    def picture(self, prompt="a photo of cat", pipe=None):
        import torch

        pipe = pipe or self.pipe
        generator = torch.Generator().manual_seed(self.seed)
        options = dict(num_inference_steps=1, height=32, width=32, output_type="np", generator=generator)
        return pipe(prompt, **options).images.tobytes()

    def prompt(self, *concepts):
        return "a photo of " + " and ".join(concept.phrase for concept in concepts)

    def weights(self) -> str:
        digest = hashlib.sha256()
        for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
            module = getattr(self.pipe, name, None)
            for key, tensor in [] if module is None else module.state_dict().items():
                digest.update(key.encode())
                digest.update(tensor.detach().cpu().numpy().tobytes())
        for name in ("tokenizer", "tokenizer_2"):
            if getattr(self.pipe, name, None) is not None:
                digest.update(repr(sorted(getattr(self.pipe, name).get_vocab().items())).encode())
        return digest.hexdigest()

    def modules(self) -> list[str]:
        names = []
        for name in ("unet", "text_encoder", "text_encoder_2"):
            module = getattr(self.pipe, name, None)
            if module is not None:
                names += [f"{name}.{n} {type(m).__name__}" for n, m in module.named_modules()]
                names += [f"{n} {hook}" for n, m in module.named_modules() for hook in _hooks(m)]
        return names


def _hooks(module):
    registry = getattr(module, "_diffusers_hook", None)
    own = [] if registry is None else list(registry.hooks)
    return [*own, *map(str, range(sum(len(hooks) for hooks in _torch_hooks(module))))]


def _torch_hooks(module):
    return module._state_dict_hooks, module._forward_hooks, module._forward_pre_hooks


def learning_leaves_the_pipeline_alone(trial):
    """Learning leaves the user's pipeline as it was."""
    assert trial.weights() == trial.stock


def the_concept_changes_the_picture(trial):
    """An attached concept is never a silent no-op."""
    prompt = trial.prompt(trial.concept)
    if trial.is_word:
        with trial.concept.attach(trial.pipe, scale=0.0):
            before = trial.picture(prompt)
    else:
        before = trial.picture(prompt)
    with trial.concept.attach(trial.pipe):
        assert trial.picture(prompt) != before


def saved_and_loaded_is_the_same(trial):
    """A concept saved and loaded gives the same picture, byte for byte."""
    from .concept import Concept

    loaded = Concept.from_pretrained(trial.concept.save_pretrained(trial.folder / "concept"))
    assert loaded.header == trial.concept.header, "the headers differ"
    with trial.concept.attach(trial.pipe):
        first = trial.picture(trial.prompt(trial.concept))
    with loaded.attach(trial.pipe):
        assert trial.picture(trial.prompt(loaded)) == first


def detaching_restores_bit_for_bit(trial):
    """Detaching, in any order, leaves no trace."""
    base, modules = trial.picture(), trial.modules()
    for turn in range(4):
        both = [trial.concept.attach(trial.pipe), trial.other.attach(trial.pipe, scale=0.5)]
        for attachment in both if turn % 2 else reversed(both):
            attachment.detach()
    assert trial.weights() == trial.stock, "(weights or vocabulary)"
    assert trial.picture() == base, "(pictures)"
    assert trial.modules() == modules, "(modules and hooks)"


def saving_the_pipeline_writes_the_stock_weights(trial):
    """While a concept is attached, `pipe.save_pretrained` writes the stock files, byte for byte."""
    plain, attached = trial.folder / "plain", trial.folder / "attached"
    trial.pipe.save_pretrained(plain)
    with trial.concept.attach(trial.pipe), trial.other.attach(trial.pipe):
        trial.pipe.save_pretrained(attached)
    for path in sorted(plain.rglob("*")):
        if path.is_file():
            twin = attached / path.relative_to(plain)
            assert twin.exists() and twin.read_bytes() == path.read_bytes(), f"({path.relative_to(plain)})"
    assert len(list(plain.rglob("*"))) == len(list(attached.rglob("*"))), "(number of files)"


def the_order_of_attaching_does_not_matter(trial):
    """Two concepts of different spaces are active at once; the order of attaching does not matter."""
    prompt = trial.prompt(trial.concept, trial.other)
    with trial.concept.attach(trial.pipe), trial.other.attach(trial.pipe):
        first = trial.picture(prompt)
    with trial.other.attach(trial.pipe), trial.concept.attach(trial.pipe):
        assert trial.picture(prompt) == first


def a_resumed_run_equals_an_uninterrupted_one(trial):
    """A run that stops after one step and goes on gives the same tensors, bit for bit."""

    class Stop(Exception):
        pass

    def stop(done, loss):
        raise Stop

    folder = trial.folder / "run"
    try:
        trial.learn(output=folder, checkpoint_every=1, callback=stop)
    except Stop:
        pass
    resumed = trial.learn(output=folder, checkpoint_every=1, resume=True)
    assert resumed.digest == trial.concept.digest


def another_backbone_is_refused_by_name(trial):
    """A pipeline of a family that the concept does not fit is refused with the family's name."""
    from .testing import tiny_pipeline

    stranger = tiny_pipeline("sdxl" if trial.family == "sd" else "sd")
    try:
        trial.concept.attach(stranger)
    except PersonaError as error:
        assert trial.family in str(error), "(the message does not name the family)"
    else:
        raise AssertionError("(it was attached)")


PROMISES = (
    learning_leaves_the_pipeline_alone,
    the_concept_changes_the_picture,
    saved_and_loaded_is_the_same,
    detaching_restores_bit_for_bit,
    saving_the_pipeline_writes_the_stock_weights,
    the_order_of_attaching_does_not_matter,
    a_resumed_run_equals_an_uninterrupted_one,
    another_backbone_is_refused_by_name,
)
