"""arXiv 2405.12978. No official code."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=262,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2405.12978",
    departures="prompts have plain sampling, the scheme's draw has localized sampling. unverified: the median as its "
    "threshold; the rank (5 % of the width gives the paper's 1.2 million parameters on "
    "SD 1.4), lr and batch",
    promise=(("faster", "dreambooth"), ("smaller", "dreambooth")),
    miniature=dict(rank=0.1, steps=150, lr=5e-3, batch_size=4),
)
def personalized_residuals(
    *,
    rank=0.05,
    init="rare",
    steps=150,
    lr=1e-3,
    batch_size=4,
    weight_decay=1e-2,
):
    """Personalized Residuals for Concept-Driven Text-to-Image Generation."""
    return Recipe(
        space=[spaces.Word(init=init), spaces.LowRank(rank=rank, targets=("proj_out",))],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising()],
        ),
        scheme=schemes.LocalizedResiduals(with_noun=True),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
