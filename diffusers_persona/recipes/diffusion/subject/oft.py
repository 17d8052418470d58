"""arXiv 2306.07280. Official code: Zeju1997/oft (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=99,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2306.07280",
    code="Zeju1997/oft",
    licence="MIT",
    departures="the official script runs up to 10005 steps and picks a checkpoint; constraint=6e-5 makes it COFT",
    promise=("remembers", "lora"),
    miniature=dict(steps=100, lr=1e-3, batch_size=2, prior_count=32),
)
def oft(
    *,
    blocks=4,
    constraint=None,
    shared=False,
    targets=("to_q", "to_k", "to_v", "to_out.0"),
    steps=2000,
    lr=6e-5,
    batch_size=1,
    prior_weight=1.0,
    prior_count=200,
    weight_decay=1e-2,
):
    """OFT: Controlling Text-to-Image Diffusion by Orthogonal Finetuning."""
    return Recipe(
        space=[spaces.Orthogonal(blocks=blocks, constraint=constraint, shared=shared, targets=targets)],
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
