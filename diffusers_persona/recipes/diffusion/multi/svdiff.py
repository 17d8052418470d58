"""arXiv 2303.11305. No official code; unofficial: mkshing/svdiff-pytorch (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=173,
    family="diffusion",
    category="multi",
    backbones=("sd", "sdxl"),
    paper="2303.11305",
    code="mkshing/svdiff-pytorch (unofficial)",
    licence="MIT (unofficial code)",
    departures="Cut-Mix-Unmix for two subjects is not built: several concepts are learned one by one, and attached "
    "together their shifts add up; normalisation layers as in the unofficial code (a matrix of one row, a rate of "
    "their own); unverified: the paper's number of steps",
    promise=("smaller", "dreambooth"),
    miniature=dict(steps=80, lr=7e-2, lr_vectors=1e-3, batch_size=2, prior_count=32),
)
def svdiff(
    *,
    steps=500,
    lr=1e-3,
    lr_vectors=1e-6,
    batch_size=1,
    prior_weight=1.0,
    prior_count=200,
    train_text_encoder=False,
    weight_decay=1e-2,
):
    """SVDiff: Compact Parameter Space for Diffusion Fine-Tuning."""
    return Recipe(
        space=[
            spaces.Spectral(text_encoders=train_text_encoder),
            spaces.SpectralVectors(text_encoders=train_text_encoder),
        ],
        method=inversion.Optimization(
            steps=steps,
            lr={"spectral": lr, "spectral_vectors": lr_vectors},
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising(), losses.PriorPreservation(weight=prior_weight, count=prior_count)],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
    )
