"""What the spaces of factorised weight changes share: learning through PEFT, their tensors' names, their scaling."""

from __future__ import annotations

import re
import warnings

from ..errors import PersonaError
from .base import Grip, Learner, Subject

ADAPTER = "persona_adapter"
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
ALPHA, MAGNITUDE = "alpha", "lora_magnitude_vector"


def prepare(host, subject: Subject, space, *, adapter: str = ADAPTER, patterns: dict | None = None) -> Learner:
    """PEFT adapters in the clone; the parameters' names are the keys of the stock files.

    Args:
        host: a private clone.
        subject: for its seed.
        space: has ``targets``, ``text_encoders`` and ``peft_config(targets)``; may have ``text_targets`` and
            ``denoiser``.
        adapter: PEFT's name of it, for spaces that are learned side by side.
        patterns: what `peft_config` takes for the denoiser's layers that differ (``rank_pattern``, ``alpha_pattern``);
            only layers of the rank pattern are adapted then.

    Raises:
        PersonaError: when no layer of a component is a target.
    """
    import torch
    from peft import inject_adapter_in_model

    learner = Learner(parameters={})
    chosen = space.targets if patterns is None else [re.sub(r"\\(.)", r"\1", n) for n in patterns["rank_pattern"]]
    components = (
        {host.denoiser_name: (host.denoiser, chosen, patterns or {})} if getattr(space, "denoiser", True) else {}
    )
    if space.text_encoders:
        components |= {
            name: (encoder, getattr(space, "text_targets", TEXT_TARGETS), {})
            for name, encoder in host.text_encoders.items()
        }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.seed)
        for component, (module, targets, own) in components.items():
            if not any(name.endswith(tuple(targets)) for name, _ in module.named_modules()):
                raise PersonaError(f"no layer of {component} ends with one of {', '.join(targets)}; check targets=")
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # side by side, on purpose
                inject_adapter_in_model(space.peft_config(targets, **own), module, adapter)
            _activate_all(module)
            learner.parameters |= _adapter_parameters(component, module, adapter)
    return learner


def _activate_all(module):
    """Lets every adapter of the library act: PEFT leaves only the last one on."""
    for part in module.modules():
        present = [key for key in getattr(part, "lora_B", {}) if key.startswith(ADAPTER)]
        if len(present) > 1:
            part._active_adapter = present


def _adapter_parameters(component, module, adapter):
    """Name in the stock file -> the adapter's parameter, in float32 whatever the host's precision."""
    marker, found = re.compile(rf"\.{adapter}(?=\.|$)"), {}
    for name, parameter in module.named_parameters():
        if marker.search(name):
            parameter.data = parameter.data.float()
            key = marker.sub("", name).replace("lora_magnitude_vector.weight", "lora_magnitude_vector")
            found[f"{component}.{key}"] = parameter
    return found


def attach(host, tensors, grip: Grip, space, product):
    """Folds each layer's product of factors into its weight.

    Args:
        space: has ``layers(tensors)`` and ``scaling_of(parts)``.
        product: (path, parts) -> [out, in] or [out, in, k, k].
    """
    from ..functional.low_rank import recompose
    from .sites import fold

    for path, parts in space.layers(tensors).items():
        factor, magnitude = space.scaling_of(parts), parts.get(MAGNITUDE)
        whole = product(path, parts)

        def change(stock, parts=parts, factor=factor, magnitude=magnitude, path=path):
            return recompose(stock, factor * product(path, parts).to(stock).reshape(stock.shape), magnitude)

        fold(host, f"{path}.weight", change, grip, shape=whole.shape)


def group(tensors, parts, needed) -> dict[str, dict]:
    """Keys ``<module path>.<part>`` -> module path -> part -> tensor.

    Args:
        tensors: a space's tensors.
        parts: names that a key may end with.
        needed: tuples of parts; of each tuple a module has one at least.

    Raises:
        PersonaError: for a key that is no part, or a module that is not whole.
    """
    modules: dict[str, dict] = {}
    for key, tensor in tensors.items():
        name = key.removesuffix(".default").replace("lora_magnitude_vector.weight", "lora_magnitude_vector")
        part = next((part for part in parts if name.endswith(f".{part}")), None)
        if part is None:
            raise PersonaError(f"key {key!r} is no tensor of this space (expected <module>.<{' | '.join(parts)}>)")
        modules.setdefault(name.removesuffix(f".{part}"), {})[part] = tensor
    for path, present in modules.items():
        missing = [" or ".join(choice) for choice in needed if not any(part in present for part in choice)]
        if missing:
            raise PersonaError(f"layer {path}: {', '.join(missing)} is missing; the file is incomplete")
    return modules


def scaling(parts, rank: int | None, default: float) -> float:
    """The factor of one module's change: its own alpha / r where it has one, else `default`.

    Args:
        parts: the module's tensors.
        rank: of its factors; None when they are whole matrices, whose alpha means nothing.
    """
    return float(parts[ALPHA]) / rank if ALPHA in parts and rank else default
