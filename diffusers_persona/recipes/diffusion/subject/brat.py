"""arXiv 2408.04785. Official code: jamesBaker361/tex_inv_plus (no licence)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=325,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2408.04785",
    code="jamesBaker361/tex_inv_plus",
    departures="one spare word; the paper also tries several. Unverified: learning rate and steps, which are "
    "those of textual inversion here. The optional loss on class pictures is off",
    miniature=dict(vectors=2, steps=150, lr=2e-2, prior_count=32),
    promise=("editable", "textual-inversion"),
)
def brat(
    *,
    vectors=1,
    init="noun",
    steps=3000,
    lr=5e-3,
    batch_size=4,
    orthogonality=0.01,
    prior_weight=0.0,
    prior_count=200,
    weight_decay=1e-2,
):
    """BRAT: Bonus oRthogonAl Token for Architecture Agnostic Textual Inversion."""
    return Recipe(
        space=[spaces.Word(vectors=vectors, init=init), spaces.Word(vectors=vectors, init=init, name="spare")],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[
                losses.Denoising(),
                losses.Orthogonality(weight=orthogonality),
                losses.PriorPreservation(weight=prior_weight, count=prior_count),
            ],
        ),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a photo of a {phrase}"), ending=", {spare}"),
    )
