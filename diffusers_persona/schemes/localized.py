"""Localized attention-guided sampling: a concept's residuals act where the picture attends to its words."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .prompting import Prompting


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalizedResiduals(Prompting):
    """As a recipe's scheme, prompts work as ever, everywhere; `draw` keeps the residuals inside the concept.

    In every stack of attention layers, the residual of the output projection counts where that stack's own
    cross-attention to the concept's words is above its median: out = W f + M (B A f). Nothing is computed twice.
    Source: Personalized Residuals, arXiv 2405.12978, section 3.2.
    """

    kind: ClassVar[str] = "localized_residuals"

    def draw(self, pipe, concept, prompt: str, **options) -> list:
        """Pictures (PIL) of `prompt`, which names the concept once.

        Args:
            pipe: a pipeline that the concept is not attached to; it is left as it was.
            concept: words and low-rank residuals of output projections.
            options: of the pipeline's call (``num_inference_steps``, ``guidance_scale``, ``generator``, ...).

        Raises:
            PersonaError: the prompt does not name the concept, or the concept has other parts than these.
        """
        from .. import backbones
        from ..attention.reading import Reading
        from ..spaces.tokens import positions
        from .merging_parts import concept_of, factors

        host = backbones.of(pipe)
        changes = factors(concept)
        strange = [path for path in changes if not path.endswith(".proj_out")]
        if strange:
            raise PersonaError(f"layer {strange[0]}: only residuals of output projections can be localized")
        words = concept_of([concept], [])
        with words.attach(pipe) if words.spaces else contextlib.nullcontext():
            places = positions(host.tokenizers[host.encoder_names[0]], prompt, concept.phrase)
            if not places:
                raise PersonaError(f"prompt {prompt!r} does not name the concept; write {concept.phrase!r} in it")
            layers = {path: _layers_of(host, path) for path in changes}
            with Reading(host.denoiser, [layer for own in layers.values() for layer in own]) as reading:
                with contextlib.ExitStack() as stack:
                    for path, own in changes.items():
                        module, _ = host.locate(host.denoiser, path.partition(".")[2], path)
                        hook = residual(reading, layers[path], places, own)
                        stack.callback(module.register_forward_hook(hook).remove)
                    return pipe(prompt, **options).images


def _layers_of(host, path) -> list[str]:
    """The cross-attention layers of the stack that ends with the projection `path`."""
    stack = path.partition(".")[2].removesuffix("proj_out")
    return [layer for layer in host.attention_layers("cross") if layer.startswith(stack)]


def residual(reading, layers, places, factors):
    """A forward hook for an output projection of features [B, c, h, w] or [B, h w, c].

    Args:
        reading: `attention.reading.Reading` of this forward pass; of guided passes the second half of the rows counts.
        layers: cross-attention layers whose maps [B, heads, h w, L] are averaged.
        places: positions of the concept's words.
        factors: A and B.
    """
    import torch

    from ..functional.localization import attended
    from ..functional.low_rank import product

    def hook(module, inputs, output):
        maps = torch.stack([reading.maps[layer][..., places].mean((1, 3)) for layer in layers]).mean(0)
        mask = attended(maps[len(maps) // 2 :]) if len(maps) > 1 else attended(maps)
        mask = mask.repeat(len(maps) // len(mask), 1)
        (x,) = inputs
        flat = x.flatten(2).transpose(1, 2) if x.ndim == 4 else x
        change = mask[..., None] * (flat @ product(*factors).flatten(1).to(flat).T)
        return output + (change.transpose(1, 2).reshape(output.shape) if x.ndim == 4 else change)

    return hook
