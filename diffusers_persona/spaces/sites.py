"""Where concepts touch a host: one site a module, shared by all concepts, gone when the last one leaves.

A site never replaces a module, an attention processor or a pipeline class. `WeightSite` swaps the parameters of a
module for folded copies; `EmbeddingSite` is a `ModelHook` on the text embeddings; `Bus` follows the denoising
progress.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from ..errors import PersonaError
from .base import Grip

CHILD = "_persona"


class Hidden(nn.Module):
    """Holds tensors that move with the host (`.to`, offload) but stay out of every state dict."""

    def state_dict(self, *args, destination=None, prefix="", keep_vars=False):
        """The destination, untouched: what is hidden is never saved with the host."""
        return {} if destination is None else destination

    def _load_from_state_dict(self, *args, **kwargs):
        pass


class Hook:
    """A hook on a whole model (torch's own kind); copies of the model share the object until `take_off`."""

    def __deepcopy__(self, memo):
        return self


def take_off(clone: nn.Module):
    """Takes all hooks off a copied model: a copied `ModelHook` would go on calling the original module."""
    for module in clone.modules():
        if vars(module).pop("_diffusers_hook", None) is not None:
            vars(module).pop("forward", None)
    for hooks, flags in (
        (clone._forward_hooks, clone._forward_hooks_with_kwargs),
        (clone._forward_pre_hooks, clone._forward_pre_hooks_with_kwargs),
    ):
        for number in [n for n, hook in hooks.items() if isinstance(hook, Hook)]:
            del hooks[number]
            flags.pop(number, None)


# ------------------------------------------------------------------------------------------------------------- weights


@dataclasses.dataclass
class Edit:
    """One concept's change of one parameter: `delta(stock) -> Tensor`, weighted by `strength()`."""

    strength: Callable[[], float]
    delta: Callable[[Tensor], Tensor]


class WeightSite(Hidden):
    """The edited parameters of one module.

    The stock parameters move in here as they are; the module meanwhile holds ``stock + sum of strength x delta``,
    summed in float32 in the order of the edits' keys. A concept attached costs nothing at inference.
    """

    def __init__(self, module: nn.Module, parent: nn.Module | None):
        super().__init__()
        self.edits: dict[str, dict[tuple, Edit]] = {}
        object.__setattr__(self, "module", module)
        object.__setattr__(self, "parent", parent)
        self.saving = module.register_state_dict_post_hook(functools.partial(_write_stock, self))

    @classmethod
    def of(cls, module: nn.Module, parent: nn.Module | None = None) -> WeightSite:
        """The site of `module`, made on first use."""
        if CHILD not in module._modules:
            module.add_module(CHILD, cls(module, parent))
        return module._modules[CHILD]

    def add(self, name: str, key: tuple, edit: Edit):
        """Adds the edit `key` of parameter `name`."""
        if name not in self.edits:
            stock = self.module._parameters[name]
            self.register_parameter(name, stock)
            self.module._parameters[name] = nn.Parameter(stock.detach().clone(), requires_grad=False)
        self.edits.setdefault(name, {})[key] = edit
        self.fold(name)

    def remove(self, name: str, key: tuple):
        """Removes the edit `key`; the last one puts the stock parameter itself back."""
        edits = self.edits[name]
        del edits[key]
        if edits:
            return self.fold(name)
        del self.edits[name]
        self.module._parameters[name] = self._parameters.pop(name)
        if not self.edits:
            self.saving.remove()
            del self.module._modules[CHILD]
        self._refresh_fused()

    @torch.no_grad()
    def fold(self, name: str):
        """Recomputes parameter `name` in place from the stock and the edits."""
        stock, folded = self._parameters[name], self.module._parameters[name]
        edits = [edit for _, edit in sorted(self.edits[name].items()) if edit.strength() != 0.0]
        if edits:
            total = stock.detach().float()
            for edit in edits:
                total = total + edit.strength() * edit.delta(stock.detach().float()).to(total)
            folded.copy_(total)
        else:
            folded.copy_(stock)
        self._refresh_fused()

    def _refresh_fused(self):
        if getattr(self.parent, "fused_projections", False):
            self.parent.fuse_projections()


def _write_stock(site, module, state_dict, prefix, local_metadata):
    for name, stock in site._parameters.items():
        if prefix + name in state_dict:
            state_dict[prefix + name] = stock.detach()


def fold(host, path: str, change: Callable[[Tensor], Tensor], grip: Grip, *, shape=None, of: str = ""):
    """Edits one weight of the user's host as long as `grip` holds.

    Args:
        host: the user's `Backbone`.
        path: ``<component>.<module path>.<parameter>``, e.g. ``"unet.conv_in.weight"``.
        change: stock weight in float32 -> what is added to it at strength 1; it must not keep the stock.
        grip: the concept's hold; its strength multiplies the change.
        shape: shape that the concept's tensors mean, kernels flat or not; None for any.
        of: what the concept holds, for the message; by default `shape`.

    Raises:
        PersonaError: naming the layer when the host has no such weight, or one of another shape.
    """
    component, _, inner = path.partition(".")
    inner, _, name = inner.rpartition(".")
    layer = path.rpartition(".")[0]
    module, parent = host.locate(host.component(component), inner, layer)
    module = unwrapped(module)
    stock = module._parameters.get(name)
    if stock is None or (shape is not None and _matrix(stock.shape) != _matrix(shape)):
        present = "none" if stock is None else tuple(stock.shape)
        raise PersonaError(
            f"layer {layer}: the concept holds {of or tuple(shape or ())}, the model's {name} is {present}; "
            "attach it to the kind of model that it was learned on"
        )
    site = WeightSite.of(module, parent)
    own = sum(key[:-1] == grip.key for key in site.edits.get(name, ()))  # a concept's spaces may share a weight
    key = (*grip.key, own)
    try:
        site.add(name, key, Edit(lambda: grip.strength, change))
    except RuntimeError as error:
        site.remove(name, key)
        reason = str(error).partition("\n")[0]
        raise PersonaError(f"layer {layer}: the concept's tensors do not fit each other ({reason})") from error
    grip.refreshes.append(lambda: site.fold(name))
    grip.releases.append(lambda: site.remove(name, key))


def _matrix(shape) -> tuple[tuple[int, ...], int]:
    """Rows and columns of a weight: files keep 1x1 convolutions as matrices, and the other way round."""
    return tuple(shape[:1]), math.prod(shape[1:])


def unwrapped(module: nn.Module) -> nn.Module:
    """The module below any adapter layers that the user has put around it (PEFT's ``base_layer``)."""
    while hasattr(module, "base_layer"):
        module = module.base_layer
    return module


# ---------------------------------------------------------------------------------------------------------- embeddings


class EmbeddingSite(ModelHook):
    """Puts learned vectors in the place of token embeddings, on a text encoder's embeddings module.

    `rows()` maps token id -> vector [d], or [B, d] where each row of the batch has its own; ids beyond the table never
    reach it. The vocabulary, the table and the config stay as they are, so stock textual inversion, saving and
    reloading do not notice.
    """

    name = "persona.embeddings"

    def __init__(self, rows: Callable[[], dict[int, Tensor]]):
        super().__init__()
        self.rows = rows

    def pre_forward(self, module, input_ids=None, position_ids=None, inputs_embeds=None, **kwargs):
        """Looks up every id and replaces the rows of the concepts' tokens."""
        if inputs_embeds is None:
            table = module.token_embedding
            inputs_embeds = table(input_ids.clamp(max=table.num_embeddings - 1))
            for token_id, vector in self.rows().items():
                here = (input_ids == token_id).unsqueeze(-1)
                inputs_embeds = torch.where(here, vector.unsqueeze(-2).to(inputs_embeds), inputs_embeds)
        return (), dict(kwargs, input_ids=None, position_ids=position_ids, inputs_embeds=inputs_embeds)


# ----------------------------------------------------------------------------------------------------------------- bus


class Bus(ModelHook):
    """Run-time state that all concepts on one denoiser share: today the progress of denoising.

    A hook on the timestep projection (a child of the denoiser, so that offloading does not lose it) reads the
    timestep; `progress` runs from 0 (pure noise) to 1 (picture). It is registered only while a concept with a window
    is attached.
    """

    name = "persona.bus"

    def __init__(self, last_timestep: int):
        super().__init__()
        self.last_timestep = last_timestep
        self.progress = 0.0
        self.listeners: list[Callable[[], None]] = []

    def pre_forward(self, module, timesteps, *args, **kwargs):
        """Notes the progress."""
        self.note(timesteps)
        return (timesteps, *args), kwargs

    def note(self, timesteps: Tensor):
        """Tells the listeners when the progress has changed."""
        progress = 1.0 - float(timesteps.flatten()[0]) / self.last_timestep
        if progress != self.progress:
            self.progress = progress
            for listener in self.listeners:
                listener()

    @classmethod
    def of(cls, module: nn.Module, last_timestep: int) -> Bus:
        """The bus on timestep projection `module`: the one in use, else a new one."""
        return HookRegistry.check_if_exists_or_initialize(module).get_hook(cls.name) or cls(last_timestep)

    def listen(self, module: nn.Module, listener: Callable[[], None]):
        """Calls `listener` at each change of progress, until `unlisten`."""
        if not self.listeners:
            HookRegistry.check_if_exists_or_initialize(module).register_hook(self, self.name)
        self.listeners.append(listener)

    def unlisten(self, module: nn.Module, listener: Callable[[], None]):
        """Stops calling `listener`; the last one takes the hook off."""
        self.listeners.remove(listener)
        if not self.listeners:
            HookRegistry.check_if_exists_or_initialize(module).remove_hook(self.name, recurse=False)
