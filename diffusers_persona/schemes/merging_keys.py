"""Custom Diffusion's closed-form merge of keys and values."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .merging_parts import Materials, concept_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstrainedKeyValueMerge:
    """Custom Diffusion's closed-form merge of cross-attention keys and values.

    Source: Kumari et al., arXiv 2212.04488, section 3.2. Text features are the rows after the start token; those of
    the words "photo of a" are left out of the constraints.

    Attributes:
        prompt: each concept's constraint; ``{phrase}`` is what stands for the concept.
    """

    kind: ClassVar[str] = "constrained_key_value_merge"

    prompt: str = "photo of a {phrase}"

    def __call__(self, concepts, pipe, materials: Materials):
        """One concept that holds the words of all `concepts` and the merged weights.

        Args:
            concepts: concepts of a recipe with key weights, each learned on `pipe`'s model.
            materials: with ordinary captions (a few hundred) that the merge must leave alone.
        """
        import torch

        from .. import backbones
        from ..functional.merging import constrained_merge, unique_rows

        host = backbones.of(pipe)
        if len(materials.captions) < 2:
            raise PersonaError(
                "the merge needs ordinary captions to keep the rest of the model in place; give captions=[...]"
            )
        targets, owners = [], []
        for n, concept in enumerate(concepts):
            with torch.no_grad(), concept.attach(pipe):
                rows = self._features(
                    host, self.prompt.format(phrase=concept.phrase), after=self.prompt.partition("{")[0]
                )
            targets.append(rows)
            owners += [n] * len(rows)
        with torch.no_grad():
            ordinary = torch.cat([self._features(host, caption) for caption in materials.captions])
        targets, owners = unique_rows(torch.cat(targets), torch.tensor(owners))
        (ordinary,) = unique_rows(ordinary)

        merged = {}
        for path in _weight_paths(concepts):
            stock = host.component(host.denoiser_name).get_parameter(path.partition(".")[2]).detach().float().cpu()
            own = torch.stack([_weight(concept, path) for concept in concepts])
            values = torch.einsum("moi,mi->mo", own[owners], targets)
            merged[path] = constrained_merge(stock, ordinary, targets, values)
        space = next(s for s in concepts[0].spaces if s.kind == "key_weights")
        return concept_of(concepts, [(space, merged)], merge=self.kind, captions=len(materials.captions))

    def _features(self, host, prompt, after=""):
        """Rows [m, d] of the text features of `prompt` behind the start token and the words `after`, no padding."""
        ids = host.tokenize([prompt])
        name = host.encoder_names[0]
        tokenizer = host.tokenizers[name]
        length = len(tokenizer(prompt, truncation=True, max_length=ids[name].shape[1])["input_ids"])
        skipped = len(tokenizer(after, add_special_tokens=False)["input_ids"]) if after.strip() else 0
        states = host.encode_text(ids)["encoder_hidden_states"][0].float().cpu()
        return states[1 + skipped : length]


def _weight_paths(concepts):
    paths = [{k.split(".", 2)[2] for k in c.tensors if k.split(".", 2)[1] == "key_weights"} for c in concepts]
    if not paths[0] or any(p != paths[0] for p in paths):
        raise PersonaError(
            "the concepts do not change the same layers; merge concepts of one recipe with the same numbers"
        )
    return sorted(paths[0])


def _weight(concept, path):
    return next(v.float() for k, v in concept.tensors.items() if k.split(".", 2)[2] == path)
