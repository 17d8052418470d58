"""arXiv 2401.04339. Official code: ugonfor/TuneQDM (no licence stated)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=323,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2401.04339",
    code="ugonfor/TuneQDM",
    licence="none stated",
    departures="integers are computed with as floats, so learning saves no memory as with integer kernels; "
    "each picture of a batch uses the scales of its own timestep, in the official code all use the first one's",
    promise=("smaller", "dreambooth"),
    miniature=dict(steps=120, lr=1.2e-4, batch_size=4, prior_count=32),
)
def ryu_tuneqdm(
    *,
    bits=8,
    experts=4,
    inputs=True,
    steps=400,
    lr=3e-6,
    batch_size=1,
    prior_weight=0.0,
    prior_count=200,
    weight_decay=1e-2,
):
    """Memory-Efficient Fine-Tuning for Quantized Diffusion Model (TuneQDM)."""
    return Recipe(
        space=[spaces.QuantisedScales(bits=bits, experts=experts, inputs=inputs)],
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
