"""arXiv 2208.01618. Official code: rinongal/textual_inversion (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=14,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2208.01618",
    code="rinongal/textual_inversion",
    licence="MIT",
    departures="the paper's LDM run multiplies the learning rate by the batch (8 x 5e-3); lr is the final rate here",
    miniature=dict(vectors=2, steps=300, lr=2e-2),
)
def textual_inversion(*, vectors=1, init="noun", steps=5000, lr=5e-3, batch_size=4, weight_decay=1e-2):
    """An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual Inversion."""
    return Recipe(
        space=[spaces.Word(vectors=vectors, init=init)],
        method=inversion.Optimization(
            steps=steps, lr=lr, batch_size=batch_size, weight_decay=weight_decay, losses=[losses.Denoising()]
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
