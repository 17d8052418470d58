"""Cross-attention maps of a host that stays as it is: read beside a forward pass, for as long as a block lasts."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import PersonaError


class Reading:
    """Maps of chosen attention layers, read from their queries and keys; the layers compute what they always do.

    A context manager::

        with Reading(host.denoiser, layers) as reading:
            host.denoise(noisy, timesteps, conditions)
        reading.maps  # path -> probabilities [B, heads, h * w, L], with gradient where there is one

    Raises:
        PersonaError: for a layer whose projections are fused.
    """

    def __init__(self, denoiser: nn.Module, layers: list[str]):
        self.maps: dict[str, Tensor] = {}
        self._layers = {path: denoiser.get_submodule(path) for path in layers}
        self._queries: dict[str, Tensor] = {}
        self._handles: list = []
        for path, attention in self._layers.items():
            if getattr(attention, "fused_projections", False):
                raise PersonaError(
                    f"layer {path}: its projections are fused; call pipe.unfuse_qkv_projections() first"
                )

    def __enter__(self) -> Reading:
        for path, attention in self._layers.items():
            self._handles.append(attention.to_q.register_forward_hook(self._keep_query(path)))
            self._handles.append(attention.to_k.register_forward_hook(self._multiply(path)))
        return self

    def __exit__(self, *exception):
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._queries.clear()

    def _keep_query(self, path):
        def keep(module, inputs, output):
            self._queries[path] = output

        return keep

    def _multiply(self, path):
        def multiply(module, inputs, output):
            attention = self._layers[path]
            query, key = map(attention.head_to_batch_dim, (self._queries[path], output))
            weights = attention.get_attention_scores(query, key)
            self.maps[path] = weights.view(-1, attention.heads, *weights.shape[1:])

        return multiply
