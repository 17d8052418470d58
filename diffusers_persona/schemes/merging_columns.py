"""Merges of a subject LoRA and a style LoRA by one coefficient for each input column: ZipLoRA and LoRA.rar."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..errors import PersonaError
from .merging_parts import Materials, concept_of, factors, stacked


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnMerge:
    """ZipLoRA: coefficients m_1, m_2 of each layer's columns, learned so that each LoRA goes on doing what it did.

    Minimises |eps(x_1, p_1; merged) - eps(x_1, p_1; first)|^2 + the same for the second + similarity x the sum over
    layers of mean |m_1 m_2|, with pictures x and prompts p of each concept. Source: Shah et al., arXiv 2311.13600,
    equations 4 and 5.

    Attributes:
        steps, lr: of Adam.
        similarity: lambda.
        batch_size: pictures of each concept a step.
        prompt: of each concept's pictures.
    """

    kind: ClassVar[str] = "column_merge"

    steps: int = 100
    lr: float = 0.01
    similarity: float = 0.01
    batch_size: int = 1
    prompt: str = "a {phrase}"

    def __call__(self, concepts, pipe, materials: Materials):
        """One concept whose LoRA is the merged change, exactly, with the sum of the ranks."""
        import torch
        from torch import nn

        from ..functional.merging_columns import column_overlap
        from .pair import Pair

        pair = Pair.of(concepts, pipe, materials, prompt=self.prompt, batch_size=self.batch_size)
        columns = {
            p: [nn.Parameter(torch.ones(w, device=pair.device)) for _ in "12"] for p, w in pair.shared().items()
        }
        optimizer = torch.optim.Adam([m for both in columns.values() for m in both], lr=self.lr)
        for step in range(self.steps):
            optimizer.zero_grad()
            loss = pair.loss(columns, step)
            loss = loss + self.similarity * sum(column_overlap(*both) for both in columns.values())
            loss.backward()
            optimizer.step()
            materials.report(step + 1, self.steps)
        return _merged(concepts, columns, merge=self.kind, steps=self.steps, loss=round(loss.item(), 6))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictedMerge:
    """LoRA.rar: the coefficients are read out of the two LoRAs by a network; no learning for a new pair.

    Queries and outputs have predicted coefficients, keys and values are summed. Source: Shenaj et al., arXiv
    2412.05148, section 3.2.

    Attributes:
        network: file of the network (``hypernet.pth`` of the official release, or what `train_merging_network` gave,
            saved as safetensors); ``"toybox"`` for the embedded one of the Toybox.
        targets: ends of the layers whose coefficients are predicted.
    """

    kind: ClassVar[str] = "predicted_merge"

    network: str | None = None
    targets: tuple[str, ...] = ("to_q", "to_out.0")

    def __call__(self, concepts, pipe, materials: Materials):
        """One concept whose LoRA is the merged change, exactly, with the sum of the ranks."""
        import torch

        from ..formats.contents import read
        from ..toybox.pipeline import MODELS
        from .pair import predictions

        _two(concepts)
        if self.network is None:
            raise PersonaError(
                "this merge needs its trained network: give network= (the official hypernet.pth for SDXL), or train "
                "one with schemes.train_merging_network"
            )
        file = MODELS / "lora_merging.safetensors" if self.network == "toybox" else self.network
        network = {name: tensor.float() for name, tensor in read(file).tensors.items()}
        with torch.no_grad():
            columns = predictions([factors(concept) for concept in concepts], network, self.targets)
        return _merged(concepts, columns, merge=self.kind)


def _two(concepts):
    if len(concepts) != 2:
        raise PersonaError(f"this merge takes two concepts, a subject and a style; given: {len(concepts)}")


def _merged(concepts, columns, **record):
    """The concepts' LoRAs with the columns of A scaled; layers of one concept alone stay as they are."""
    from ..functional.merging_columns import scaled_columns

    layers: dict[str, list] = {}
    for n, concept in enumerate(concepts):
        for path, (down, up) in factors(concept).items():
            own = columns[path][n].detach().cpu() if path in columns else None
            layers.setdefault(path, []).append((down if own is None else scaled_columns(down, own), up))
    return concept_of(concepts, [stacked(layers)], joint=" in ", **record)


def train_merging_network(
    pipe,
    pairs,
    *,
    epochs: int = 100,
    lr: float = 0.01,
    similarity: float = 0.01,
    hidden: int = 128,
    targets: tuple[str, ...] = ("to_q", "to_out.0"),
    prompt: str = "a {phrase}",
    seed: int = 0,
    report=None,
) -> dict:
    """Trains the network of `PredictedMerge` on pairs of a subject LoRA and a style LoRA.

    Args:
        pipe: the model that all of them were learned on.
        pairs: (subject, style, pictures of the subject, pictures of the style) of each pair.
        epochs: passes over the pairs, in random order; one step a pair. The paper has 360 pairs and 100 epochs.
        similarity: weight of |cos(m_1, m_2)|, summed over the layers.
        hidden: width of the network.
        report: called with (steps done, of how many).

    Returns:
        The network under its official names, float32 on the CPU; `safetensors.torch.save_file` writes it. Its outputs
        begin near 1, the plain sum. Source: arXiv 2412.05148, section 3.2.
    """
    import torch

    from ..functional.merging_columns import column_cosine
    from .pair import Pair, new_network, predictions

    materials = [Materials(pictures=(content, style), seed=seed) for _, _, content, style in pairs]
    benches = [Pair.of(pair[:2], pipe, own, prompt=prompt, batch_size=1) for pair, own in zip(pairs, materials)]
    network = new_network(benches, targets, hidden, seed)
    optimizer = torch.optim.AdamW(network.values(), lr=lr)
    random, done = torch.Generator().manual_seed(seed), 0
    for _ in range(epochs):
        for i in torch.randperm(len(benches), generator=random).tolist():
            columns = predictions(benches[i].factors, network, targets)
            learned = [both for path, both in columns.items() if path.endswith(targets)]
            loss = benches[i].loss(columns, done) + similarity * sum(column_cosine(*both) for both in learned)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            if report is not None:
                report(done, epochs * len(benches))
    return {name: tensor.detach().cpu() for name, tensor in network.items()}
