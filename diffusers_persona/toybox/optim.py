"""Muon for hidden matrices and convolutions, AdamW for the rest (Jordan et al. 2024, "Muon").

A momentum update is replaced by its nearest semi-orthogonal matrix, found by five Newton-Schulz iterations.
"""

import torch
from torch import Tensor, nn

from . import parallel

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic iteration of the Muon reference


def orthogonalize(matrix: Tensor, iterations: int = 5) -> Tensor:
    """The semi-orthogonal factor of `matrix` [m, n], approximately (singular values about 0.7 to 1.2)."""
    a, b, c = _COEFFICIENTS
    wide = matrix.size(0) <= matrix.size(1)
    x = matrix if wide else matrix.mT
    x = x.bfloat16() / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).float()


class Muon(torch.optim.Optimizer):
    """One optimiser over all parameters of `model`; the Muon part learns at `lr * scale`.

    Change the learning rate through `set_lr`.
    """

    def __init__(self, model: nn.Module, lr: float, *, scale: float = 10.0, weight_decay: float = 0.01, beta=0.95):
        hidden, others = [], []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                (hidden if _is_hidden(name, parameter) else others).append(parameter)
        hidden.sort(key=lambda p: min(p.shape[0], p[0].numel()) ** 2 * max(p.shape[0], p[0].numel()))
        self.beta, self.weight_decay, self.scale = beta, weight_decay, scale
        self.adam = torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)
        super().__init__([{"params": hidden}], {"lr": lr * scale})

    def set_lr(self, lr: float) -> None:
        self.adam.param_groups[0]["lr"] = lr
        self.param_groups[0]["lr"] = lr * self.scale

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        self.adam.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure=None) -> None:
        self.adam.step()
        lr = self.param_groups[0]["lr"]
        parameters = self.param_groups[0]["params"]
        updates = [self._update(parameter, index) for index, parameter in enumerate(parameters)]
        parallel.sum_over_processes(updates)
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - lr * self.weight_decay).add_(update, alpha=-lr)

    def _update(self, parameter: nn.Parameter, index: int) -> Tensor:
        """The orthogonalised update; each process works out its share of them and leaves zeros for the others."""
        momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(parameter.grad, 1 - self.beta)
        if index % parallel.processes() != parallel.rank():
            return torch.zeros_like(parameter)
        update = orthogonalize(parameter.grad.lerp(momentum, self.beta).flatten(1))
        return (update * max(1.0, update.size(0) / update.size(1)) ** 0.5).view_as(parameter)

    def state_dict(self) -> dict:
        return {"muon": super().state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def _is_hidden(name: str, parameter: nn.Parameter) -> bool:
    ends = ("conv_in", "conv_out", "token_embedding", "position_embedding")
    return (
        parameter.ndim >= 2
        and min(parameter.shape[0], parameter[0].numel()) >= 16
        and not any(e in name for e in ends)
    )
