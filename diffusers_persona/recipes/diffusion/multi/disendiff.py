"""arXiv 2403.18551. Official code: Monalissaa/DisenDiff (MIT, on code of Custom Diffusion and Stable Diffusion)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=314,
    family="diffusion",
    category="multi",
    backbones=("sd", "sdxl"),
    paper="2403.18551",
    code="Monalissaa/DisenDiff",
    licence="MIT",
    departures="the class words' maps are filtered once (a second time is power=4); class pictures are generated "
    "where the caller gives none; unverified: whether the official rate is multiplied by the accumulation",
    miniature=dict(steps=150, lr=3e-3, accumulation=1, batch_size=4, prior_count=32),
    learns="several",
    pictures=1,
    promise=(("faithful", "custom-diffusion"), ("editable", "custom-diffusion")),
)
def disendiff(
    *,
    steps=250,
    lr=1e-5,
    batch_size=1,
    accumulation=4,
    attention_weight=0.01,
    deviation=0.5,
    power=2.0,
    prior_weight=1.0,
    prior_count=200,
    weight_decay=1e-2,
):
    """Attention Calibration for Disentangled Text-to-Image Personalization."""
    return Recipe(
        space=[
            spaces.Word(part="each", init="rare"),
            spaces.KeyWeights(attention="cross", projections=("key", "value"), detach_start=True),
        ],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            accumulation=accumulation,
            weight_decay=weight_decay,
            losses=[
                losses.Denoising(),
                losses.AttentionCalibration(weight=attention_weight, deviation=deviation, power=power),
                losses.PriorPreservation(weight=prior_weight, count=prior_count, real=True),
            ],
        ),
        scheme=schemes.Prompting(with_noun=True),
        data=inversion.Data(prompts=inversion.prompts.Fixed("photo of a {phrase}")),
    )
