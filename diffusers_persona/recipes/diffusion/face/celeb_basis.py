"""arXiv 2306.00926. Official code: ygtxr1997/CelebBasis (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=81,
    family="diffusion",
    category="face",
    backbones=("sd", "sdxl"),
    paper="2306.00926",
    code="ygtxr1997/CelebBasis",
    licence="MIT",
    departures="our own list of 461 names in place of the release's 691, so at most 460 directions; the moving "
    "average is that of the network, not of its coefficients; pictures are not augmented; faces are not aligned: give "
    "pictures of the face, and a CosFace or ArcFace network with face=; one identity a run",
    miniature=dict(names="toybox", components=32, steps=150, lr=2e-2, batch_size=4, ema=0.9),
    pictures=1,
    promise=(("editable", "textual-inversion"), ("faithful", "textual-inversion")),
)
def celeb_basis(
    *, names="celebrities", components=512, depth=1, face=None, steps=800, lr=5e-3, batch_size=2, ema=0.99
):
    """Inserting Anybody in Diffusion Models via Celeb Basis."""
    return Recipe(
        space=[spaces.CelebBasis(names=names, components=components, depth=depth, face=face)],
        method=inversion.Optimization(steps=steps, lr=lr, batch_size=batch_size, ema=ema, losses=[losses.Denoising()]),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Neutral(inversion.prompts.PERSON_TEMPLATES)),
    )
