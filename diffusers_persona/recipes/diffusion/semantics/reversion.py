"""arXiv 2303.13495. Official code: ziqihuangg/ReVersion (S-Lab License 1.0, non-commercial)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=168,
    family="diffusion",
    category="semantics",
    backbones=("sd", "sdxl"),
    paper="2303.13495",
    code="ziqihuangg/ReVersion",
    licence="S-Lab License 1.0 (non-commercial)",
    departures="the code scales its learning rate of 2.5e-4 by batch and accumulation; lr is the final rate here; "
    "words that name nothing are our own list; on SDXL the steering is summed over both text encoders",
    miniature=dict(steps=150, lr=2e-2, batch_size=4, accumulation=1),
)
def reversion(
    *,
    steps=3000,
    lr=2e-3,
    batch_size=2,
    accumulation=4,
    init="and",
    alpha=0.5,
    steering=0.01,
    positives=4,
    temperature=0.07,
    weight_decay=1e-2,
):
    """ReVersion: Diffusion-Based Relation Inversion from Images."""
    steer = losses.WordSteering(
        words=inversion.vocabulary.PREPOSITIONS,
        neutral=inversion.vocabulary.FUNCTION_WORDS,
        weight=steering,
        positives=positives,
        temperature=temperature,
    )
    return Recipe(
        space=[spaces.Word(init="text", text=init)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            accumulation=accumulation,
            weight_decay=weight_decay,
            timesteps=inversion.timesteps.Cosine(alpha=alpha),
            losses=[losses.Denoising(), steer],
        ),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(prompts=inversion.prompts.Captions("a photo of one thing {phrase} another thing")),
    )
