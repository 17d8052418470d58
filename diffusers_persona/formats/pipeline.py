"""A concept as a whole stock pipeline: changes folded into the weights, words in the tokenizer and its table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PersonaError
from .base import Format

if TYPE_CHECKING:
    from ..concept import Concept


def save(concept: Concept, *, pipe=None, **wishes) -> dict[str, bytes]:
    """The files of `pipe` with the concept folded in.

    Args:
        concept: in spaces that change weights, and words.
        pipe: the pipeline that the concept fits; it is left as it was.

    Raises:
        PersonaError: without a pipeline, when the concept does not fit it, or when a space acts at run time.
    """
    if pipe is None:
        raise PersonaError("format 'pipeline' writes a whole model: give the base pipeline with pipe=")
    folded = folded_pipeline(concept, pipe)
    with tempfile.TemporaryDirectory() as folder:
        folded.save_pretrained(folder)
        root = Path(folder)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def folded_pipeline(concept: Concept, pipe):
    """A stock pipeline with the concept in its weights; it shares all other weights with `pipe`.

    Raises:
        PersonaError: when the concept does not fit `pipe`, or one of its spaces cannot be folded.
    """
    from .. import backbones
    from ..spaces import Grip

    host = backbones.of(pipe).private_clone()
    grip, hooks = Grip(key=()), _hooks(host)
    for i, space in enumerate(concept.spaces):
        tensors = concept.tensors_of(i, device=host.device)
        if space.adds_token:
            _add_word(host, space, tensors)
            continue
        space.attach(host, tensors, grip)
        if _hooks(host) != hooks:
            raise PersonaError(f"a concept in {space.kind} space acts at run time and cannot be folded into weights")
    for name in (host.denoiser_name, *host.encoder_names):
        _bake(host.component(name))
    return host.pipe


def _hooks(host) -> int:
    """How many run-time hooks there are on the host's networks."""
    modules = [m for name in (host.denoiser_name, *host.encoder_names) for m in host.component(name).modules()]
    return sum(len(registry.hooks) for m in modules if (registry := getattr(m, "_diffusers_hook", None)) is not None)


def _add_word(host, space, tensors):
    """Adds the word as stock Textual Inversion does."""
    for name, encoder in host.text_encoders.items():
        vectors = tensors.get(f"{name}.embedding")
        if vectors is None or vectors.shape[-1] != encoder.get_input_embeddings().embedding_dim:
            raise PersonaError(
                f"word {space.token!r} has no vectors that fit {name}; give the pipeline it was learned on"
            )
        host.pipe.load_textual_inversion(
            {space.token: vectors}, token=space.token, text_encoder=encoder, tokenizer=host.tokenizers[name]
        )


def _bake(root):
    """Makes the folded weights the module's own, for good."""
    from ..spaces.sites import CHILD

    for module in list(root.modules()):
        site = module._modules.pop(CHILD, None)
        if site is not None:
            site.saving.remove()


FORMATS = (
    Format(
        kind="pipeline",
        title="whole diffusers pipeline with the concept folded in",
        layout="`model_index.json`, `unet/`, `text_encoder/`, `tokenizer/`, ...",
        recognise=lambda contents: False,
        save=save,
        writes=("pipeline",),
        holds=None,
    ),
)
