"""arXiv 2404.04243. Official code: agwmon/MuDI (no licence)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=312,
    family="diffusion",
    category="multi",
    backbones=("sd", "sdxl"),
    paper="2404.04243",
    code="agwmon/MuDI",
    departures="masks are the caller's, not SAM's; class pictures are not mixed. The code's default loss is DCO's "
    "(preference=1, denoising=0), the paper's the denoising loss. Unverified: sizes of the pieces; the start of "
    "sampling from a collage (schemes.collage_start)",
    miniature=dict(rank=8, steps=110, lr=2e-3, batch_size=4, accumulation=1, prior_count=32, prior_weight=0.0),
    learns="several",
    masks=True,
    promise=("faithful", "custom-diffusion"),
)
def mudi(
    *,
    rank=32,
    steps=2010,
    lr=1e-4,
    batch_size=1,
    accumulation=2,
    mix=0.3,
    denoising=1.0,
    preference=0.0,
    beta=1000.0,
    prior_weight=1.0,
    prior_count=200,
    weight_decay=1e-2,
):
    """Identity Decoupling for Multi-Subject Personalization of Text-to-Image Models."""
    return Recipe(
        space=[spaces.LowRank(rank=rank)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            accumulation=accumulation,
            weight_decay=weight_decay,
            losses=[
                losses.Denoising(weight=denoising, masked=False),
                losses.ConsistencyPreference(weight=preference, beta=beta),
                losses.PriorPreservation(weight=prior_weight, count=prior_count),
            ],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(
            prompts=inversion.prompts.Shown("a photo of a {phrase}"),
            augmentation=[inversion.collage.SegMix(p=mix)],
            parts=True,
        ),
    )
