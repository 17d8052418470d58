"""arXiv 2312.15905. Official code: lyuPang/CrossInitialization (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=136,
    family="diffusion",
    category="face",
    backbones=("sd", "sdxl"),
    paper="2312.15905",
    code="lyuPang/CrossInitialization",
    licence="MIT",
    departures="our own list of names; the official rate 6.25e-4 times its batch of 8 is lr here",
    miniature=dict(names="toybox", steps=150, lr=5e-2, batch_size=4),
    pictures=1,
    promise=(("editable", "textual-inversion"), ("faster", "textual-inversion")),
)
def cross_initialization(*, names="celebrities", stay_near=1e-5, steps=320, lr=5e-3, batch_size=8, weight_decay=1e-2):
    """Cross Initialization for Personalized Text-to-Image Generation."""
    return Recipe(
        space=[spaces.Word(vectors=2, init="names", names=names)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising(), losses.StayNear(weight=stay_near)],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Neutral(inversion.prompts.PERSON_TEMPLATES)),
    )
