"""The processes that learn together: one, or those that ``accelerate launch`` or ``torchrun`` has started."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor

from ..errors import PersonaError


class Processes:
    """This process and the others of its run; files are written by the main one alone.

    Attributes:
        count: number of processes; 1 in an ordinary run.
        index: number of this one, from 0.
        main: whether this is the one that writes.
    """

    def __init__(self, device: torch.device):
        joined = torch.distributed.is_available() and torch.distributed.is_initialized()
        state = PartialState(cpu=device.type == "cpu")
        self.count, self.index, self.main = state.num_processes, state.process_index, state.is_main_process
        if self.count > 1 and not joined:
            atexit.register(_leave)

    def main_does(self, work: Callable[[], Any]) -> Any:
        """What `work()` gives in the main process, in every process; nobody goes on before it is done.

        Raises:
            PersonaError: in every process, when the work fails; so that none waits for one that has stopped.
        """
        if self.count == 1:
            return work()
        outcome, failure = list[Any]([None, None]), None
        if self.main:
            try:
                outcome[0] = work()
            except Exception as error:
                failure, outcome[1] = error, str(error) or type(error).__name__
        broadcast_object_list(outcome)
        if failure is not None:
            raise failure
        if outcome[1] is not None:
            raise PersonaError(outcome[1])
        return outcome[0]

    def mean(self, losses: Tensor, parameters: list) -> Tensor:
        """The mean over all processes of the losses, and of the parameters' gradients in place, in one exchange.

        A parameter that got no gradient in any process keeps none.
        """
        if self.count == 1:
            return losses
        present = losses.new_tensor([p.grad is not None for p in parameters])
        grads = [(p if p.grad is None else p.grad).detach().to(losses) for p in parameters]
        grads = [torch.zeros_like(g) if p.grad is None else g for p, g in zip(parameters, grads)]
        whole = torch.cat([losses, present, *(grad.flatten() for grad in grads)])
        torch.distributed.all_reduce(whole)
        losses, present, *grads = (whole / self.count).split([len(losses), len(present), *(g.numel() for g in grads)])
        for parameter, seen, grad in zip(parameters, present.tolist(), grads):
            parameter.grad = grad.view_as(parameter).to(parameter) if seen else None
        return losses


def _leave():
    """Takes this process out of the group in order: one that is torn down with the interpreter may abort."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
