"""arXiv 2411.14793. No official code."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=296,
    family="diffusion",
    category="style",
    backbones=("sd", "sdxl"),
    paper="2411.14793",
    departures="the paper's hosts are flow models; here log(signal^2 / noise^2) of a discrete schedule, whose "
    "noisiest timestep (about -5.4) takes all draws below it. unverified: steps and lr",
    promise=("faithful", "lora"),
    miniature=dict(rank=8, mean=-3.0, steps=150, lr=2e-3, batch_size=4),
)
def style_friendly_snr(
    *,
    rank=32,
    mean=-6.0,
    deviation=2.0,
    steps=300,
    lr=1e-4,
    batch_size=1,
    weight_decay=1e-2,
):
    """Style-Friendly SNR Sampler for Style-Driven Generation."""
    return Recipe(
        space=[spaces.LowRank(rank=rank)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            timesteps=inversion.timesteps.LogSNR(mean=mean, deviation=deviation),
            losses=[losses.Denoising()],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
    )
