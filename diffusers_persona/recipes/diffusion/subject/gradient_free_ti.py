"""arXiv 2304.05818. Official code: feizc/Gradient-Free-Textual-Inversion (no licence)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=130,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2304.05818",
    code="feizc/Gradient-Free-Textual-Inversion",
    licence="none stated (its copy of pycma: BSD)",
    departures="our own CMA-ES without negative weights, its mean is the concept; principal directions are scaled by "
    "the table's spread along each; our own class words (213) and four sentences for each; the candidates of a "
    "generation are judged on one batch of pictures",
    miniature=dict(
        dimensions=24,
        projection="nouns",
        nouns="toybox",
        sharpness=30.0,
        steps=40,
        population=12,
        sigma=0.5,
        batch_size=4,
    ),
)
def gradient_free_ti(
    *,
    dimensions=256,
    projection="principal",
    nouns="nouns",
    sharpness=1.0,
    clip=None,
    steps=250,
    population=20,
    sigma=1.0,
    batch_size=32,
):
    """Gradient-Free Textual Inversion."""
    return Recipe(
        space=[
            spaces.SearchedWord(
                dimensions=dimensions, projection=projection, nouns=nouns, sharpness=sharpness, clip=clip
            )
        ],
        method=inversion.Search(
            steps=steps, population=population, lr=sigma, batch_size=batch_size, losses=[losses.Denoising()]
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
