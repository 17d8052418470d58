"""What a key of an adapter file says: which layer of which component, and which part of the adapter.

Every trainer spells the layers in its own way. All spellings end here in one: ``<component>.<module path>``, as
diffusers names the module. Layers in the original UNet's names stay as they are while the UNet is unknown; a host
finds them (`ldm`).
"""

from __future__ import annotations

import functools
import re

from . import bfl, ldm

# Names that contain an underscore; in flattened keys every other underscore stands for a dot.
_NAMES = frozenset(
    """
    down_blocks mid_block up_blocks transformer_blocks time_embedding time_emb_proj add_embedding linear_1 linear_2
    proj_in proj_out to_q to_k to_v to_out conv_in conv_out conv_shortcut conv_norm_out cond_proj class_embedding
    input_blocks middle_block output_blocks in_layers out_layers emb_layers skip_connection time_embed label_emb
    text_model self_attn q_proj k_proj v_proj out_proj layer_norm1 layer_norm2 final_layer_norm text_projection
    token_embedding position_embedding layer_norm wi_0 wi_1
    single_transformer_blocks to_add_out add_q_proj add_k_proj add_v_proj ff_context norm1_context norm_out proj_mlp
    context_embedder x_embedder time_text_embed timestep_embedder text_embedder guidance_embedder norm_q norm_k
    double_blocks single_blocks img_attn txt_attn img_mlp txt_mlp img_mod txt_mod img_in txt_in time_in vector_in
    guidance_in in_layer out_layer final_layer adaLN_modulation joint_blocks context_block x_block
    """.split()
)
_LONGEST = max(name.count("_") for name in _NAMES) + 1

_WRAPPER = re.compile(r"^(?:state_dict\.|base_model\.model\.|module\.|_orig_mod\.|lycoris[._](?!lora_))")
_COMPONENTS = (  # what a key may begin with -> component; None: as it is spelt
    (r"(unet|transformer|text_encoder(?:_[23])?)\.(?:unet\.)?", None),
    (r"(?:model\.)?diffusion_model\.", "unet"),
    (r"lora_(unet|transformer)[_.]", None),
    (r"lora_te1?[_.]", "text_encoder"),
    (r"lora_te2[_.]", "text_encoder_2"),
    (r"lora_te3[_.]", "text_encoder_3"),
    (r"(?:text_encoders\.)?clip_l\.(?:transformer\.)?", "text_encoder"),
    (r"(?:text_encoders\.)?clip_g\.(?:transformer\.)?", "text_encoder_2"),
    (r"(?:cond_stage_model|conditioner\.embedders\.0)\.transformer\.", "text_encoder"),
)
MODELS = {
    "UNet2DConditionModel": "unet",
    "FluxTransformer2DModel": "transformer",
    "SD3Transformer2DModel": "transformer",
    "CLIPTextModel": "text_encoder",
    "CLIPTextModelWithProjection": "text_encoder_2",
}
_TRANSFORMER_ROOTS = (*bfl.ROOTS, "transformer_blocks", "single_transformer_blocks", "joint_blocks")
_TRANSFORMER_ROOTS += ("x_embedder", "context_embedder", "time_text_embed", "norm_out", "proj_out")
_UNET_ROOTS = (*ldm.ROOTS, "down_blocks", "mid_block", "up_blocks", "conv_in", "conv_out", "time_embedding")
_UNET_ROOTS += ("add_embedding", "conv_norm_out")
_TEXT_ROOTS = ("text_model", "encoder", "text_projection", "embeddings")

_HALF = re.compile(
    r"^(?P<layer>.+?)[._]lora(?:_linear_layer)?[._](?P<half>A|B|down|up|mid)(?P<rest>(?:\.\w+)*)$",
)
_OTHER = re.compile(
    r"^(?P<layer>.+?)\."
    r"(?P<part>alpha|dora_scale|lora_magnitude_vector|hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2))"
    r"(?:\.\w+)*$",
)
_XLABS = re.compile(
    r"^(?P<block>.*(?:double|single)_blocks\.\d+)\.processor\.(?P<layer>qkv|proj)_lora(?P<stream>[12]?)\."
    r"(?P<half>down|up)\.weight$"
)
_XLABS_STREAMS = {"": "attn", "1": "img_attn", "2": "txt_attn"}
_HALVES = {"A": "lora_A", "down": "lora_A", "B": "lora_B", "up": "lora_B", "mid": "lora_mid"}


def split(key: str) -> tuple[str, str] | None:
    """The layer as the file spells it, and the part: ``lora_A.weight``, ``alpha``, ``hada_w1_a``, ...

    None for a key that belongs to no adapter.
    """
    found = _XLABS.match(key)
    if found:
        layer = f"{found['block']}.{_XLABS_STREAMS[found['stream']]}.{found['layer']}"
        return layer, f"{_HALVES[found['half']]}.weight"
    found = _HALF.match(key)
    if found:
        kind = "bias" if found["rest"].endswith(".bias") else "weight"
        return found["layer"], f"{_HALVES[found['half']]}.{kind}"
    found = _OTHER.match(key)
    if found:
        layer = re.sub(r"[._]lora(_linear_layer)?(\.(down|up)(\.weight)?)?$", "", found["layer"])
        return layer, found["part"]
    return None


def resolve(layer: str, model: str | None = None) -> tuple[str, ...]:
    """``<component>.<module path>`` of each diffusers layer that `layer`, as a file spells it, changes.

    Several for the fused layers of original FLUX names; empty when no model that we know has such a layer.

    Args:
        layer: key of a file without the part.
        model: class of the model that the whole file is for, where that is stated beside it (PEFT).
    """
    component, path = _component(layer)
    component = component or MODELS.get(model or "")
    path = _modules(path)
    root = path.partition(".")[0]
    if component in (None, "unet", "transformer"):
        component = _by_root(root) or component
    if component is None:
        return ()
    if component == "transformer" and bfl.is_bfl(path):
        return tuple(f"transformer.{inner}" for inner in bfl.to_diffusers(path))
    spell = _text_path if component.startswith("text_encoder") else _denoiser_path
    return (f"{component}.{spell(path)}",)


@functools.lru_cache(maxsize=4096)
def unflatten(flat: str) -> str:
    """``down_blocks_0_attentions_1_proj_in`` -> ``down_blocks.0.attentions.1.proj_in``."""
    words, parts = flat.split("_"), []
    while words:
        for length in range(min(_LONGEST, len(words)), 0, -1):
            name = "_".join(words[:length])
            if length == 1 or name in _NAMES:
                parts.append(name)
                del words[:length]
                break
    return ".".join(parts)


def _component(layer: str) -> tuple[str | None, str]:
    """Takes wrappers and the component's name off, in whatever order they were put on."""
    component = None
    while True:
        bare = _WRAPPER.sub("", layer)
        for pattern, name in _COMPONENTS if component is None else ():
            found = re.match(pattern, bare)
            if found:
                component, bare = name or found[1], bare[found.end() :]
                break
        if bare == layer:
            return component, layer
        layer = bare


def _modules(path: str) -> str:
    """The dotted module path without processors."""
    path = path.replace(".processor.", ".").removesuffix(".processor")
    head, dot, rest = path.partition(".")
    # A flattened key has no dot before its part; a dotted one keeps the underscores of its names.
    return f"{unflatten(head)}{dot}{rest}" if "_" in head and head not in _NAMES else path


def _by_root(root: str) -> str | None:
    roots = {"unet": _UNET_ROOTS, "transformer": _TRANSFORMER_ROOTS, "text_encoder": _TEXT_ROOTS}
    return next((component for component, names in roots.items() if root in names), None)


_OLD_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj", "to_out.0": "out_proj"}


def _text_path(path: str) -> str:
    """Older diffusers called the text encoder's projections as the UNet's."""
    block, marker, projection = path.partition(".self_attn.")
    return f"{block}{marker}{_OLD_TEXT.get(projection, projection)}"


def _denoiser_path(path: str) -> str:
    return f"{path}.0" if path.endswith(".to_out") else path
