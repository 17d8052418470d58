"""Gradient fusion: each layer of the merged model does with every concept's inputs what that concept's own did."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import ClassVar

from .merging_parts import Materials, concept_of, factors


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientFusion:
    """Mix-of-Show's merge of LoRAs into full weights, layer by layer.

    The inputs of each layer are collected while every concept alone draws pictures of itself; L-BFGS then looks for
    the weight that answers them as the concepts' own weights do. Source: Gu et al., arXiv 2305.18292, equation 5.

    Attributes:
        prompts: what each concept draws; ``{phrase}`` is its phrase.
        steps: sampler steps of each picture.
        rows: at most so many inputs of a layer are kept for each concept.
        text_iterations, iterations: of L-BFGS, in the text encoders and in the denoiser.
    """

    kind: ClassVar[str] = "gradient_fusion"

    prompts: tuple[str, ...] = ("a photo of {phrase}", "{phrase} on the beach", "{phrase} in the snow", "a {phrase}")
    steps: int = 20
    rows: int = 2048
    text_iterations: int = 500
    iterations: int = 50

    def __post_init__(self):
        object.__setattr__(self, "prompts", tuple(self.prompts))

    def __call__(self, concepts, pipe, materials: Materials):
        """One concept with the words of all, and the fused weights."""
        import torch

        from .. import backbones
        from ..functional.low_rank import product
        from ..functional.merging import quasi_newton_merge
        from ..spaces.weights import Weights

        host = backbones.of(pipe)
        changes = [factors(concept) for concept in concepts]
        paths = sorted({path for own in changes for path in own})
        inputs = [self._inputs(concept, host, paths, materials) for concept in concepts]
        fused = {}
        for done, path in enumerate(paths):
            stock = _module(host, path).weight.detach().float().cpu()
            own = [stock + product(*c[path]) if path in c else stock for c in changes]
            if stock.ndim > 2:
                fused[f"{path}.weight"] = stock + sum(weight - stock for weight in own)
                continue
            targets = torch.cat([x @ weight.T for x, weight in zip((given[path] for given in inputs), own)])
            iterations = self.text_iterations if path.startswith("text_encoder") else self.iterations
            together = torch.cat([given[path] for given in inputs])
            fused[f"{path}.weight"] = quasi_newton_merge(stock, together, targets, iterations)
            materials.report(done + 1, len(paths))
        return concept_of(concepts, [(Weights(), fused)], merge=self.kind, rows=self.rows)

    def _inputs(self, concept, host, paths, materials) -> dict:
        """Inputs [n, in] of each linear layer while the concept draws."""
        import torch

        found: dict[str, list] = {path: [] for path in paths}
        random = torch.Generator().manual_seed(materials.seed)
        share = max(1, self.rows // (len(self.prompts) * self.steps))

        def collect(path):
            def hook(module, inputs):
                rows = inputs[0].detach().flatten(0, -2).float().cpu()
                found[path].append(rows[torch.randperm(len(rows), generator=random)[:share]])

            return hook

        with torch.no_grad(), concept.attach(host.pipe), contextlib.ExitStack() as stack:
            for path in paths:
                module = _module(host, path)
                if module.weight.ndim == 2:
                    stack.callback(module.register_forward_pre_hook(collect(path)).remove)
            for prompt in self.prompts:
                noise = torch.Generator().manual_seed(materials.seed)
                options = dict(num_inference_steps=self.steps, generator=noise, output_type="latent")
                host.pipe(prompt.format(phrase=concept.phrase), **_side(host), **options)
        return {path: torch.cat(rows)[: self.rows] for path, rows in found.items() if rows}


def _side(host):
    return dict(height=host.resolution, width=host.resolution)


def _module(host, path):
    from ..spaces.sites import unwrapped

    component, _, inner = path.partition(".")
    return unwrapped(host.locate(host.component(component), inner, path)[0])
