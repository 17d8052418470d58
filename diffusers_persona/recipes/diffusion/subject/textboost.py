"""arXiv 2409.08248. Official code: nahyeonkaty/textboost (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe

CHANGES = (
    spaces.Word(name="flip", init="random"),
    spaces.Word(name="zoom-out", vectors=2, init="random"),
    spaces.Word(name="zoom-in", vectors=2, init="random"),
    spaces.Word(name="left", init="random"),
    spaces.Word(name="right", init="random"),
    spaces.Word(name="turned", vectors=2, init="random"),
    spaces.Word(name="bright", init="random"),
    spaces.Word(name="dark", init="random"),
    spaces.Word(name="gray", init="random"),
)


@recipe(
    ref=260,
    family="diffusion",
    category="subject",
    backbones=("sd",),
    paper="2409.08248",
    code="nahyeonkaty/textboost",
    licence="MIT",
    departures="nine changes of the picture; cropped, collaged and compressed pictures are left out, and places "
    "without picture are masked, not filled; no SNR-weighted timesteps, which the released code leaves off; "
    "unverified: the ranges of shifts and brightness, and the first values of the changes' words",
    miniature=dict(steps=120, lr=3e-3, word_lr=5e-2, batch_size=4, rank=8),
    pictures=1,
    promise=(("editable", "dreambooth"), ("smaller", "dreambooth")),
)
def textboost(
    *,
    rank=4,
    steps=250,
    lr=5e-5,
    word_lr=1e-3,
    batch_size=8,
    preservation=0.1,
    change=0.8,
    drop=0.1,
    weight_decay=1e-2,
):
    """TextBoost: Towards One-Shot Personalization of Text-to-Image Models via Fine-tuning Text Encoder."""
    projections = ("q_proj", "k_proj", "v_proj")
    return Recipe(
        space=[
            spaces.Word(),
            *CHANGES,
            spaces.StockText(),
            spaces.LowRank(rank=rank, denoiser=False, text_encoders=True, text_targets=projections),
        ],
        method=inversion.Optimization(
            steps=steps,
            lr=dict(low_rank=lr, word=word_lr),
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[
                losses.Denoising(),
                losses.KnowledgePreservation(
                    weight=preservation,
                    prompts=("a photo of a {noun}", "a {noun}", "the {noun}", "a picture of a {noun}"),
                ),
            ],
        ),
        scheme=schemes.Prompting(with_noun=True),
        data=inversion.Data(
            prompts=inversion.prompts.Neutral(), augmentation=[inversion.paired.NamedChange(p=change)], drop=drop
        ),
    )
