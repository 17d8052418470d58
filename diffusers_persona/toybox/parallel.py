"""Data-parallel training over CPU processes of one thread each (gloo); with one process everything is a no-op."""

import os
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn


def launch(task: Callable[..., None], processes: int, *arguments) -> None:
    """Run `task(*arguments)` in `processes` processes that know each other."""
    if processes == 1:
        _enter(0, 1, task, arguments)
    else:
        torch.multiprocessing.spawn(_enter, (processes, task, arguments), nprocs=processes)


def _enter(rank: int, processes: int, task: Callable[..., None], arguments: tuple) -> None:
    if processes == 1:
        return task(*arguments)
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": os.environ.get("MASTER_PORT", "29517")}
    dist.init_process_group("gloo", rank=rank, world_size=processes)
    try:
        task(*arguments)
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """This process' number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average_gradients(model: nn.Module) -> None:
    """Replace every gradient by its mean over the processes."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    sum_over_processes(gradients)
    torch._foreach_div_(gradients, processes())


def sum_over_processes(tensors: list[torch.Tensor]) -> None:
    """Replace tensors by their sums over the processes, in one message."""
    if processes() > 1:
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def from_first(value: float) -> float:
    """The first process's `value`, in all of them."""
    if processes() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(shared, 0)
    return shared.item()
