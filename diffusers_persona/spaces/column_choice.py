"""Columns of a LoRA that earn their place: at the start of each period those that matter most are switched on.

Source: UnZipLoRA, arXiv 2412.04465, section 3.3 (column separation).
"""

from __future__ import annotations

COLUMNS, CLOCK = "columns", "clock"


class ColumnChoice:
    """Which input columns of the changes B A of several layers act in learning.

    A period begins with one step in which all columns act, and how much the loss leans on each is measured: the sum
    over the outputs of B A times its gradient. The best `share` of each layer's columns then act beside those that
    were chosen before; the others give nothing and learn nothing.

    Attributes:
        share: of the columns, added in each period.
        period: in steps.
        masks: layer -> 1 for columns that act, else 0, [in].
        probing: whether this step measures the columns.
    """

    def __init__(self, share: float, period: int, device):
        import torch

        self.share, self.period = share, period
        self.clock = torch.zeros(1, device=device)
        self.masks: dict = {}
        self.probing = True
        self._probes: dict = {}

    def begin(self):
        """Before a forward pass: whether it measures, by the clock."""
        self.probing = int(self.clock) % self.period == 0

    def add(self, path: str, down):
        """Lets the inputs of A, the module `down` of the layer `path`, be chosen; gives its mask [in]."""
        import torch

        weight = down.weight
        self.masks[path] = torch.zeros(weight.shape[1], device=weight.device)
        self._probes[path] = torch.ones(weight.shape[1], device=weight.device, requires_grad=True)
        down.register_forward_pre_hook(self._hook(path))
        return self.masks[path]

    def _hook(self, path):
        def hook(module, inputs):
            (x,) = inputs
            chosen = self._probes[path] if self.probing else self.masks[path]
            return (x * (chosen if x.ndim < 4 else chosen.reshape(1, -1, 1, 1)).to(x.dtype),)

        return hook

    def step(self):
        """After an optimiser step: the choice, where this step has measured."""
        import torch

        with torch.no_grad():
            for path, probe in self._probes.items() if self.probing else ():
                score, probe.grad = probe.grad, None
                if score is not None:
                    count = max(1, round(self.share * len(probe)))
                    self.masks[path][score.abs().topk(count).indices] = 1.0
            self.clock += 1.0
        self.begin()
