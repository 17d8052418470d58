"""arXiv 2211.11337. Official code: IrisRainbowNeko/DreamArtist-stable-diffusion (no licence stated)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=259,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2211.11337",
    code="IrisRainbowNeko/DreamArtist-stable-diffusion",
    licence="none stated",
    departures="one learning rate for both words; the optional pixel loss compares with the decoded latents, and the "
    "optional classifier loss is left out; unverified: the words' first values (the class word here, of both)",
    miniature=dict(steps=140, lr=2e-2, batch_size=2, guidance=2.0),
    pictures=1,
    promise=("faithful", "textual-inversion"),
)
def dreamartist(
    *,
    vectors=3,
    negative_vectors=6,
    guidance=5.0,
    reconstruction=0.0,
    steps=2500,
    lr=2.5e-3,
    batch_size=1,
    ema=None,
    weight_decay=1e-2,
):
    """DreamArtist: Controllable One-Shot Text-to-Image Generation via Positive-Negative Adapter."""
    return Recipe(
        space=[spaces.Word(vectors=vectors), spaces.Word(name="neg", vectors=negative_vectors)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            ema=ema,
            weight_decay=weight_decay,
            losses=[
                losses.GuidedDenoising(guidance=guidance),
                losses.GuidedReconstruction(weight=reconstruction, guidance=guidance),
            ],
        ),
        scheme=schemes.Prompting(with_noun=False, negative="{neg}"),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
