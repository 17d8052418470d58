"""Weight formats by their tensor keys, from the most special to the most general."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signature:
    """A format, recognised by regular expressions that are searched in its keys.

    Each pattern in `keys` must match some key; with `every`, each key must match some pattern.
    """

    kind: str
    title: str
    keys: tuple[str, ...]
    every: bool = False
    next_step: str


_LORA_STEP = "pipe.load_lora_weights(...) in diffusers"
_PIPE_STEP = "DiffusionPipeline.from_pretrained(...) or from_single_file(...) in diffusers"
# Order matters: the first signature whose patterns all match wins, from the most special to the most general.
SIGNATURES = (
    Signature(
        kind="concept-tensors",
        title="tensors of a concept (their header is concept.json beside them)",
        keys=(r"^\d+\.[a-z_]+\.\w",),
        every=True,
        next_step="inspect the folder that it belongs to",
    ),
    Signature(
        kind="ip-adapter",
        title="IP-Adapter",
        keys=(r"^image_proj\.", r"^ip_adapter\."),
        next_step="pipe.load_ip_adapter(...)",
    ),
    Signature(
        kind="custom-diffusion",
        title="Custom Diffusion key/value weights (diffusers)",
        keys=(r"to_[kv]_custom_diffusion\.weight$",),
        next_step="pipe.unet.load_attn_procs(...) in diffusers",
    ),
    Signature(
        kind="lora",
        title="LoRA with DoRA magnitudes",
        keys=(r"lora_magnitude_vector|dora_scale",),
        next_step=_LORA_STEP,
    ),
    Signature(
        kind="lora",
        title="LoRA (kohya keys)",
        keys=(r"^lora_(unet|te\d?)_.*lora_down\.weight$",),
        next_step=_LORA_STEP,
    ),
    Signature(kind="lora", title="LoRA (PEFT keys)", keys=(r"\.lora_A(\.\w+)?\.weight$",), next_step=_LORA_STEP),
    Signature(
        kind="lora",
        title="LoRA (older diffusers keys)",
        keys=(r"(lora\.down|_lora\.down|lora_down)\.weight$",),
        next_step=_LORA_STEP,
    ),
    Signature(kind="loha", title="LoHa (LyCORIS)", keys=(r"hada_w1_a$",), next_step="PEFT's LoHa"),
    Signature(kind="lokr", title="LoKr (LyCORIS)", keys=(r"lokr_w1",), next_step="PEFT's LoKr"),
    Signature(kind="oft", title="OFT", keys=(r"oft_(blocks|diag|r)\b",), next_step="PEFT's OFT"),
    Signature(
        kind="single-file",
        title="original Stable Diffusion checkpoint",
        keys=(r"^model\.diffusion_model\.",),
        next_step=_PIPE_STEP,
    ),
    Signature(
        kind="controlnet",
        title="ControlNet",
        keys=(r"^controlnet_cond_embedding\.",),
        next_step="ControlNetModel.from_pretrained(...)",
    ),
    Signature(kind="unet", title="UNet weights", keys=(r"^down_blocks\.", r"^time_embedding\."), next_step=_PIPE_STEP),
    Signature(
        kind="vae",
        title="autoencoder weights",
        keys=(r"^(encoder|decoder)\.(conv_in|mid_block)\.",),
        next_step=_PIPE_STEP,
    ),
    Signature(
        kind="text-encoder",
        title="CLIP text encoder weights",
        keys=(r"embeddings\.token_embedding\.weight$",),
        next_step=_PIPE_STEP,
    ),
)
