"""arXiv 2311.14631. Official code: RoyZhao926/CatVersion (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=77,
    family="diffusion",
    category="subject",
    backbones=("sd",),
    paper="2311.14631",
    code="RoyZhao926/CatVersion",
    licence="MIT",
    departures="the prefix acts on prompts that hold the class word, in place of all but the unconditional one; "
    "unverified: the paper's number of steps (released checkpoints are of step 999) and batch size",
    miniature=dict(steps=150, lr=1e-1, batch_size=4, layers=2, length=8, bias=10.0, deviation=3.0),
    promise=("editable", "textual-inversion"),
)
def catversion(*, layers=3, length=1, bias=1.0, deviation=1.0, steps=1000, lr=5e-3, batch_size=1, weight_decay=1e-2):
    """CatVersion: Concatenating Embeddings for Diffusion-Based Text-to-Image Personalization."""
    return Recipe(
        space=[spaces.TextPrefix(layers=layers, length=length, bias=bias, deviation=deviation)],
        method=inversion.Optimization(
            steps=steps, lr=lr, batch_size=batch_size, weight_decay=weight_decay, losses=[losses.Denoising()]
        ),
        scheme=schemes.Prompting(with_token=False),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
