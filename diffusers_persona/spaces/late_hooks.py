"""Hooks on the denoiser's blocks by which each of them reads its own text."""

from __future__ import annotations

import torch
from diffusers.hooks import HookRegistry, ModelHook

from ..functional.packing import unpack
from .sites import Hook


class ReadLayer(ModelHook):
    """Gives one block that reads the text its own text."""

    name = "persona.text_layer"

    def __init__(self, late, number: int):
        super().__init__()
        self.late, self.number = late, number

    def pre_forward(self, module, hidden_states, encoder_hidden_states=None, *args, **kwargs):
        """Puts this layer's keys in the place of the text; the values, where they differ, go along with them."""
        if self.late.now is not None:
            keys, values = self.late.now[self.number]
            vars(keys)["_persona_values"] = values
            rest = encoder_hidden_states[1:] if isinstance(encoder_hidden_states, tuple) else None
            encoder_hidden_states = keys if rest is None else (keys, *rest)
        return (hidden_states, encoder_hidden_states, *args), kwargs


class SplitValues(ModelHook):
    """Lets the cross-attention of one transformer block take its values from another text than its keys."""

    name = "persona.text_values"

    def pre_forward(self, module, *args, **kwargs):
        """For this call, hands the values' text to the value projection."""
        states = args[2] if len(args) > 2 else kwargs.get("encoder_hidden_states")
        states = states[0] if isinstance(states, tuple) else states
        values = getattr(states, "_persona_values", None)
        self.handle = None if values is None else _feed_values(module.attn2, values)
        return args, kwargs

    def post_forward(self, module, output):
        """Ends that."""
        if self.handle is not None:
            self.handle.remove()
        return output


def _feed_values(attention, values):
    """Makes `attention` project `values`, fused with the keys' projection or not; gives the handle that ends it."""
    if not getattr(attention, "fused_projections", False):
        return attention.to_v.register_forward_pre_hook(lambda module, inputs: (values, *inputs[1:]))

    def fused(module, inputs, output):
        half = output.shape[-1] // 2
        return torch.cat([output[..., :half], module.forward(values)[..., half:]], dim=-1)

    return attention.to_kv.register_forward_hook(fused)


class Strip(Hook):
    """Takes the packed ids off the text of a network that reads it plainly (a ControlNet)."""

    def __init__(self, widths):
        self.widths = widths

    def __call__(self, module, args, kwargs):
        """The call with plain text states."""
        if len(args) > 2:
            return (*args[:2], unpack(args[2], self.widths)[0], *args[3:]), kwargs
        return args, {**kwargs, "encoder_hidden_states": unpack(kwargs["encoder_hidden_states"], self.widths)[0]}


def control_nets(pipe) -> list:
    """The ControlNets of a pipeline."""
    nets = getattr(pipe, "controlnet", None)
    return [] if nets is None else getattr(nets, "nets", [nets])


def register(module, hook: ModelHook):
    """Puts a hook on a module under its name."""
    HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, hook.name)


def unregister(module, kind: type[ModelHook]):
    """Takes the hook of this kind off a module."""
    HookRegistry.check_if_exists_or_initialize(module).remove_hook(kind.name, recurse=False)
