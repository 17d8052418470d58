"""arXiv 2305.18203. Official code: google/inspiration_tree (Apache-2.0)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=297,
    family="diffusion",
    category="style",
    backbones=("sd", "sdxl"),
    paper="2305.18203",
    code="google/inspiration_tree",
    licence="Apache-2.0",
    departures="the tree grows by learning again from `schemes.branch`'s pictures of one word; seeds are 1000 apart, "
    "and the chosen one learns from its first step again. Unverified: learning rate; 500 steps where a reading of the "
    "code has 1000",
    miniature=dict(steps=110, lr=2e-2, batch_size=4, seeds=2, seed_steps=20, pictures=4, sampling_steps=10),
    learns="object",
)
def inspiration_tree(
    *,
    init="object",
    steps=500,
    lr=5e-4,
    batch_size=2,
    alpha=0.5,
    seeds=4,
    seed_steps=200,
    pictures=40,
    sampling_steps=25,
    weight_decay=1e-2,
):
    """Concept Decomposition for Visual Exploration and Inspiration."""
    choice = inversion.rehearsal.SeedChoice(
        count=seeds, steps=seed_steps, pictures=pictures, sampling_steps=sampling_steps
    )
    return Recipe(
        space=[
            spaces.Word(init="text", text=init),
            spaces.Word(init="text", text=init, name="right"),
        ],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            timesteps=inversion.timesteps.Cosine(alpha=alpha),
            losses=[losses.Denoising()],
            choice=choice,
        ),
        scheme=schemes.Prompting(with_noun=False, further=("right",)),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
