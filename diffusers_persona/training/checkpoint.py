"""Checkpoints: one safetensors file that holds everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ..errors import PersonaError
from ..files import write_whole

FILE = "checkpoint.safetensors"


def save(folder: Path, *, step: int, parameters: dict, states: dict, optimizer, average: dict | None, record: dict):
    """Writes the state after `step` steps, in one piece, over the last one."""
    from safetensors.torch import save as pack

    tensors = {f"parameter/{name}": p.detach() for name, p in parameters.items()}
    tensors |= {f"state/{name}": tensor for name, tensor in states.items()}
    tensors |= {f"average/{name}": tensor for name, tensor in (average or {}).items()}
    plain = {}
    for i, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{i}/{key}"] = value
            else:
                plain[f"{i}/{key}"] = value
    note = {"step": step, "optimizer": plain, "record": record}
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    write_whole(folder / FILE, pack(tensors, metadata={"state": json.dumps(note)}))


@torch.no_grad()
def load(folder: Path, *, parameters: dict, states: dict, optimizer, average: dict | None) -> tuple[int, dict]:
    """Puts the state of `folder` into the run; gives the steps done and the record so far.

    Raises:
        PersonaError: for a damaged checkpoint, or one of another run.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    try:
        with safe_open(path, "pt") as file:
            note = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        note = {"step": int(note["step"]), "optimizer": dict(note["optimizer"]), "record": dict(note["record"])}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise PersonaError(
            f"{path}: not a readable checkpoint ({str(error)[:200]}); delete it and learn from the start"
        ) from error
    for kind, targets in (("parameter", parameters), ("state", states), ("average", average or {})):
        for name, target in targets.items():
            saved = tensors.get(f"{kind}/{name}")
            if saved is None or saved.shape != target.shape:
                raise PersonaError(
                    f"{path}: {kind} {name!r} is missing or of another shape; it belongs to another run"
                )
            target.copy_(saved)
    try:
        state = _optimizer_state(tensors, note["optimizer"])
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise PersonaError(
            f"{path}: the state of the optimiser is damaged; delete it and learn from the start"
        ) from error
    return note["step"], note["record"]


def _optimizer_state(tensors: dict, plain: dict) -> dict:
    """Number of the parameter -> name -> value, as optimisers keep it."""
    state: dict = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer/"):
            _, i, name = key.split("/", 2)
            state.setdefault(int(i), {})[name] = tensor
    for key, value in plain.items():
        i, name = key.split("/", 1)
        state.setdefault(int(i), {})[name] = value
    return state
