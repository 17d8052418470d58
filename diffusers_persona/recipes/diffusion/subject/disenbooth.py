"""arXiv 2305.03374. Official code: forchchch/DisenBooth (no licence stated)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=101,
    family="diffusion",
    category="subject",
    backbones=("sd",),
    paper="2305.03374",
    code="forchchch/DisenBooth",
    licence="none stated",
    departures="pictures are seen by the CLIP of the host's text encoder (ViT-H for SD 2.x, ViT-L for 1.x, the "
    "Toybox's on miniature hosts), with a linear map to the text's width where these differ",
    miniature=dict(rank=8, steps=110, lr=2e-3, batch_size=3),
    promise=(("disentangled", "dreambooth"), ("smaller", "dreambooth")),
)
def disenbooth(
    *,
    rank=4,
    steps=2000,
    lr=1e-4,
    batch_size=1,
    text_weight=0.01,
    cosine_weight=0.001,
    clip=None,
    picture=None,
    weight_decay=1e-2,
):
    """DisenBooth: Identity-Preserving Disentangled Tuning for Subject-Driven Text-to-Image Generation."""
    return Recipe(
        space=[spaces.LowRank(rank=rank), spaces.ImageBranch(clip=clip, picture=picture)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[
                losses.ImageConditioned(),
                losses.Denoising(weight=text_weight),
                losses.Disentangled(weight=cosine_weight),
            ],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
    )
