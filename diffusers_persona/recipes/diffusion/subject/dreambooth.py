"""arXiv 2208.12242. Official release: google/dreambooth (data only, CC-BY-4.0)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=15,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2208.12242",
    code="google/dreambooth (data only)",
    licence="CC-BY-4.0 (data)",
    departures="no official training code exists; Stable Diffusion in place of Imagen, 200 class pictures, not ~1000",
    miniature=dict(steps=150, lr=2e-4, batch_size=4, prior_count=32),
)
def dreambooth(
    *,
    steps=1000,
    lr=5e-6,
    batch_size=1,
    prior_weight=1.0,
    prior_count=200,
    train_text_encoder=False,
    weight_decay=1e-2,
):
    """DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation."""
    return Recipe(
        space=[spaces.Weights(text_encoders=train_text_encoder)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising(), losses.PriorPreservation(weight=prior_weight, count=prior_count)],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
    )
