"""arXiv 2303.05125. Official repository: ali-vilab/Cones (MIT; text only); unofficial code: Gothos/Cones (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=83,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2303.05125",
    code="ali-vilab/Cones (no code); Gothos/Cones (unofficial)",
    licence="MIT",
    departures="the paper's threshold on the accumulated gradient is unknown: a fraction of the weights is taken; "
    "the scale's update is exact in its logarithm, the paper's to first order; on miniature hosts a high rate lets "
    "the scales really fall before they are chosen; no fine-tuning of masked models for three concepts and more; "
    "unverified: 1000 steps, the rate 2e-5",
    promise=("smaller", "dreambooth"),
    miniature=dict(fraction=0.002, steps=80, lr=30.0, batch_size=4, prior_weight=0.0),
)
def cones(
    *,
    fraction=0.02,
    steps=1000,
    lr=2e-5,
    batch_size=1,
    prior_weight=1.0,
    prior_count=200,
):
    """Cones: Concept Neurons in Diffusion Models for Customized Generation."""
    return Recipe(
        space=[spaces.ConceptNeurons(fraction=fraction, attention="cross", projections=("key", "value"))],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            optimizer="sgd",
            clip=None,
            weight_decay=0.0,
            losses=[losses.Denoising(), losses.PriorPreservation(weight=prior_weight, count=prior_count)],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
        merge=schemes.NeuronUnion(),
    )
