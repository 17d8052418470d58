"""arXiv 2305.18292. Official code: TencentARC/Mix-of-Show (Apache-2.0)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=308,
    family="diffusion",
    category="multi",
    backbones=("sd",),
    paper="2305.18292",
    code="TencentARC/Mix-of-Show",
    licence="Apache-2.0 (Tencent)",
    masks=True,
    departures="the attention regulariser, which the last official release refuses, is left out; neutral prompts for "
    "pictures without captions, and no crops chosen for faces; steps are the official 500 rounds over a few pictures",
    promise=("faithful", "lora"),
    miniature=dict(steps=150, lr=2e-2, text_lr=5e-4, denoiser_lr=3e-3, batch_size=4, most_norm=1.0),
)
def mix_of_show(
    *,
    deviation=0.013,
    most_norm=0.55,
    rank=4,
    steps=1000,
    lr=1e-3,
    text_lr=1e-5,
    denoiser_lr=1e-4,
    batch_size=2,
    noise_offset=0.01,
    weight_decay=1e-2,
):
    """Mix-of-Show: Decentralized Low-Rank Adaptation for Multi-Concept Customization of Diffusion Models."""
    return Recipe(
        space=[
            spaces.PPlus(init=("random", "noun"), deviation=deviation, most_norm=most_norm),
            spaces.LowRank(rank=rank, text_encoders=True, denoiser=False, name="text"),
            spaces.LowRank(rank=rank, name="denoiser"),
        ],
        method=inversion.Optimization(
            steps=steps,
            lr={"p_plus": lr, "low_rank.text": text_lr, "low_rank.denoiser": denoiser_lr},
            batch_size=batch_size,
            weight_decay=weight_decay,
            schedule="linear",
            noise_offset=noise_offset,
            losses=[losses.Denoising()],
        ),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(prompts=inversion.prompts.Captions("a photo of a {phrase}")),
        merge=schemes.GradientFusion(),
    )
