"""TuneQDM: the official code's state of a quantised UNet with its scales."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from ..errors import PersonaError
from .base import Format, Hints, Loaded, LoadReport
from .signatures import by_keys

if TYPE_CHECKING:
    from .contents import Contents

FILE = "tuneqdm.pt"
_KEY = re.compile(r"^(?:delta_state\.)?(?P<layer>.+)\.(?P<part>delta_(?:out|in))_experts$")
_FROM_HOST = re.compile(r"\.(?:bias|weight_int|zero_point)$")


def load(contents: Contents, hints: Hints) -> Loaded:
    """The scales; integers, zero points and biases follow from the host and are not needed.

    Raises:
        PersonaError: for symmetric quantisation, scales of no layer, or different numbers of experts.
    """
    from ..spaces import QuantisedScales

    config = {key.removeprefix("config."): v for key, v in contents.extra.items() if key.startswith("config.")}
    if config.get("symmetric"):
        raise PersonaError(
            f"{contents.path}: it was quantised symmetrically, which no space of ours has; quantise anew"
        )
    tensors, matched, counts = {}, [], set()
    for key, scales in contents.tensors.items():
        found = _KEY.match(key)
        if found:
            tensors[f"0.quantised_scales.unet.{found['layer']}.{found['part']}"] = scales.flatten(1).float()
            counts.add(len(scales))
        if found or _FROM_HOST.search(key):
            matched.append(key)
    if len(counts) != 1:
        raise PersonaError(f"{contents.path}: its layers have {sorted(counts)} sets of scales; the file is damaged")
    space = QuantisedScales(
        bits=int(config.get("n_bits", 8)),
        experts=counts.pop(),
        inputs=any(key.endswith(".delta_in") for key in tensors),
    )
    return Loaded(
        spaces=[space],
        tensors=tensors,
        report=LoadReport(matched=tuple(matched), unused=tuple(k for k in contents.infos if k not in matched)),
    )


def save(concept, *, pipe=None, **wishes) -> dict[str, bytes] | None:
    """The scales with their numbers of axes; None without ``pipe``, which tells which layers are kernels."""
    import torch

    if pipe is None:
        return None
    space, tensors = next(
        (s, concept.tensors_of(i)) for i, s in enumerate(concept.spaces) if s.kind == "quantised_scales"
    )
    state = {}
    for path, parts in space.layers(tensors).items():
        name = path.removeprefix("unet.")
        kernel = pipe.unet.get_submodule(name).weight.ndim == 4
        output, inward = parts["delta_out"], parts.get("delta_in")
        inward = torch.ones(len(output), pipe.unet.get_submodule(name).weight.shape[1]) if inward is None else inward
        sides = [1, 1] if kernel else []
        state[f"{name}.delta_out_experts"] = output.reshape(len(output), -1, 1, *sides)
        state[f"{name}.delta_in_experts"] = inward.reshape(len(inward), 1, -1, *sides)
    config = {
        "n_bits": space.bits,
        "symmetric": False,
        "num_experts": space.experts,
        "total_denoising_steps": pipe.scheduler.config.num_train_timesteps,
        "train_delta_in": space.inputs,
        "train_bias": False,
    }
    buffer = io.BytesIO()
    torch.save({"delta_state": state, "config": config}, buffer)
    return {FILE: buffer.getvalue()}


def _facts(contents: Contents) -> dict[str, Any]:
    shapes = [info.shape for key, info in contents.infos.items() if _KEY.match(key)]
    return {
        "layers": len(shapes) // 2 or len(shapes),
        "experts": shapes[0][0],
        "bits": contents.extra.get("config.n_bits"),
    }


FORMATS = (
    Format(
        kind="tuneqdm",
        title="TuneQDM scales (official code)",
        layout="`delta_state.<module>.delta_out_experts` [N, out, 1], `.delta_in_experts` [N, 1, in] (kernels: two "
        "axes more), `config.n_bits`; the integers beside them follow from the base; written with `pipe=` only",
        recognise=by_keys(_KEY.pattern),
        load=load,
        save=save,
        writes=("original",),
        holds=("quantised_scales",),
        suffixes=(".pt", ".bin"),
        facts=_facts,
    ),
)
