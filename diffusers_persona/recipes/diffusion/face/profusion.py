"""arXiv 2305.13579. Official code: drboog/ProFusion (Apache-2.0)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=90,
    family="diffusion",
    category="face",
    backbones=("sd",),
    paper="2305.13579",
    code="drboog/ProFusion",
    licence="Apache-2.0",
    departures="no pretrained PromptNet: the network begins as the class word and learns from one picture alone; "
    "the word depends on the timestep, not on the noisy latents (the code: with_noise=False); it is kept as a table; "
    "CLIP's pooled embedding is one token, not its patches; mirrored copies in place of new backgrounds. Unverified: "
    "steps of the fine-tuning and the demo's scales",
    miniature=dict(steps=100, lr=1e-3, batch_size=2),
    pictures=1,
    promise=("faithful", "textual-inversion"),
)
def profusion(
    *,
    times=50,
    steps=100,
    lr=2e-5,
    batch_size=8,
    rounds=1,
    eta=1.0,
    fusion=3.0,
    strength=0.8,
    concept_guidance=5.0,
    text_guidance=0.0,
    weight_decay=1e-2,
):
    """Enhancing Detail Preservation for Customized Text-to-Image Generation: A Regularization-Free Approach."""
    scheme = schemes.FusionSampling(
        with_noun=False,
        rounds=rounds,
        eta=eta,
        fusion=fusion,
        strength=strength,
        concept=concept_guidance,
        text=text_guidance,
    )
    return Recipe(
        space=[spaces.PromptNetWord(times=times)],
        method=inversion.Optimization(
            steps=steps, lr=lr, batch_size=batch_size, weight_decay=weight_decay, losses=[losses.Denoising()]
        ),
        scheme=scheme,
        data=inversion.Data(
            prompts=inversion.prompts.Neutral(), augmentation=[inversion.augmentation.HorizontalFlip()]
        ),
    )
