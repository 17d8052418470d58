"""arXiv 2305.16225. Official code: zyxElsa/ProSpect (Apache-2.0)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=295,
    family="diffusion",
    category="style",
    backbones=("sd",),
    paper="2305.16225",
    code="zyxElsa/ProSpect",
    licence="Apache-2.0",
    departures="the first vector is the class word's (the official config takes 'teddy' for every picture); plain "
    "words in some stages are had by use=, which lets the learned word act in chosen stages only, in place of a list "
    "of ten prompts; unverified: that no factor stands before the official rate",
    pictures=1,
    promise=("editable", "textual-inversion"),
    miniature=dict(steps=150, lr=2e-3, batch_size=4, heads=2, head_width=16),
)
def prospect(
    *,
    stages=10,
    heads=8,
    head_width=64,
    dropout=0.1,
    init="",
    use=(),
    steps=600,
    lr=1e-4,
    batch_size=1,
    weight_decay=1e-2,
):
    """ProSpect: Prompt Spectrum for Attribute-Aware Personalization of Diffusion Models."""
    return Recipe(
        space=[spaces.Stages(stages=stages, heads=heads, head_width=head_width, dropout=dropout, init=init, use=use)],
        method=inversion.Optimization(
            steps=steps, lr=lr, batch_size=batch_size, weight_decay=weight_decay, losses=[losses.Denoising()]
        ),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
