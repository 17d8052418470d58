"""Tiny real pipelines with random weights: the stock classes at a size that runs in a blink."""

from __future__ import annotations

import string

WORDS = ("a photo of the my one in on style and painting picture cat dog person thing sks ktn red beach").split()


def tiny_pipeline(family: str = "sd", *, seed: int = 0):
    """A stock pipeline of `family` (``"sd"`` or ``"sdxl"``) for pictures of 32 pixels, reproducible by `seed`.

    Raises:
        PersonaError: for another family.
    """
    from .errors import PersonaError

    makers = {"sd": _sd, "sdxl": _sdxl}
    if family not in makers:
        raise PersonaError(f"there is no tiny pipeline of family {family!r}; choose one of {', '.join(makers)}")
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipe = makers[family]()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_pictures(count: int = 4, *, seed: int = 0, side: int = 32):
    """`count` PIL pictures of coloured noise, reproducible by `seed`."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return [Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC) for c in coarse]


NOUN, NOUNS = "dog", "cat and dog"


def short_lesson(recipe, *, pictures=None, seed: int = 0, **numbers) -> dict:
    """What `learn` takes beside the pipeline for the shortest run of any recipe that uses all of it.

    Two steps, or one in each of its phases; pictures with the masks and captions that it needs; several things where
    it learns several.

    Args:
        recipe: id of a registered recipe, or a `Recipe`.
        pictures: PIL pictures; four of coloured noise by default.
        seed: of the noise, and of learning.
        numbers: numbers and options of `learn` that go before these.
    """
    from .recipe import Recipe, get
    from .training.plan import several

    own, declared = {}, recipe
    if not isinstance(recipe, Recipe):
        entry = get(recipe)
        short = {"batch_size": 2, "prior_count": 2, "lr": 1e-2}
        short |= {name: 1 for name in entry.defaults if name.endswith("_steps")} | {"steps": 2}
        own = {name: value for name, value in short.items() if name in entry.defaults}
        declared = entry.build(**own)
    pictures, parts = pictures or tiny_pictures(4, seed=seed), 2 if several(declared) else 1
    if parts > 1 or declared.data.needs:
        pictures = _described(pictures, parts)
    facts = {"noun": NOUNS if parts > 1 else NOUN, "seed": seed, "progress": False}
    return {"images": pictures, "recipe": recipe, **facts, **own, **numbers}


def one_a_space(backbone: str = "sd") -> list[str]:
    """Ids of recipes that live in all the spaces there are: one for each combination of spaces, in this order."""
    from .recipe import list_recipes

    found = {}
    for entry in list_recipes(backbone=backbone):
        found.setdefault(tuple(entry.space), entry.id)
    return sorted(found.values())


def _described(pictures, parts: int):
    """The pictures with captions, and with the left and right half as masks of two things, or the left one as mask."""
    from PIL import Image

    from .inversion.images import Example, ImageSet

    examples = []
    for n, picture in enumerate(pictures):
        halves = [Image.new("L", picture.size), Image.new("L", picture.size)]
        for k, half in enumerate(halves):
            half.paste(255, (k * picture.width // 2, 0, (k + 1) * picture.width // 2, picture.height))
        caption = f"a photo of {NOUNS if parts > 1 else NOUN}"
        mask = Image.new("L", picture.size, 255) if parts > 1 else halves[0]
        own = tuple(halves) if parts > 1 else ()
        facts = {"caption": caption, "source": f"picture {n}", "part": n % parts if parts > 1 else None}
        examples.append(Example(image=picture, mask=mask, part_masks=own, **facts))
    return ImageSet(examples=tuple(examples))


def tokenizer():
    """A CLIP tokenizer that knows `WORDS` as single tokens and spells everything else."""
    from transformers import CLIPTokenizer

    letters = [*string.ascii_lowercase, *string.digits, *".,:;!?'-<>_*/()"]
    vocabulary = [*letters, *(letter + "</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
            if "".join(pair) not in vocabulary:
                vocabulary.append("".join(pair))
            parts = ["".join(pair), *parts[2:]]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(vocabulary)}, merges=merges, model_max_length=77)


def _text_encoder(words, *, projection=None):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=projection or 32,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def _vae():
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=8,
        layers_per_block=1,
        sample_size=32,
    ).eval()


NOISE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)


def _sd():
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    words = tokenizer()
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    ).eval()
    return StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=_text_encoder(words),
        tokenizer=words,
        unet=unet,
        scheduler=DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )


def _sdxl():
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    words, more_words = tokenizer(), tokenizer()
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=6 * 8 + 32,
        cross_attention_dim=64,
        norm_num_groups=8,
    ).eval()
    return StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=_text_encoder(words),
        text_encoder_2=_text_encoder(more_words, projection=32),
        tokenizer=words,
        tokenizer_2=more_words,
        unet=unet,
        scheduler=EulerDiscreteScheduler(**NOISE, timestep_spacing="leading"),
        add_watermarker=False,
    )
