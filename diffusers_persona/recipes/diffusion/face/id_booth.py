"""arXiv 2504.07392. Official code: dariant/ID-Booth (no licence)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=134,
    family="diffusion",
    category="face",
    backbones=("sd", "sdxl"),
    paper="2504.07392",
    code="dariant/ID-Booth",
    licence="none stated",
    departures="steps in place of 32 epochs; no face detector: faces are taken as the pictures show them, so give "
    "pictures of the face and an ArcFace network with face=; the negative's identity is seen on its decoded latents",
    miniature=dict(
        rank=8,
        steps=150,
        lr=2e-3,
        batch_size=3,
        schedule="constant",
        prior_weight=0.5,
        prior_count=32,
        identity_rows=1,
    ),
    promise=("faithful", "lora"),
)
def id_booth(
    *,
    rank=4,
    steps=1000,
    lr=1e-4,
    batch_size=1,
    schedule="cosine",
    prior_weight=1.0,
    prior_count=200,
    identity_weight=1.0,
    margin=1.0,
    fade=2.0,
    identity_rows=None,
    face=None,
    weight_decay=1e-2,
):
    """ID-Booth: Identity-consistent Face Generation with Diffusion Models."""
    return Recipe(
        space=[spaces.LowRank(rank=rank)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            schedule=schedule,
            weight_decay=weight_decay,
            losses=[
                losses.Denoising(),
                losses.PriorPreservation(weight=prior_weight, count=prior_count),
                losses.Identity(weight=identity_weight, margin=margin, fade=fade, rows=identity_rows, face=face),
            ],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a photo of {phrase}")),
    )
