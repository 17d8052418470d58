"""arXiv 2408.01556. Official code: PairCustomization/PairCustomization (no licence)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=160,
    family="diffusion",
    category="style",
    backbones=("sdxl", "sd"),
    paper="2408.01556",
    code="PairCustomization/PairCustomization",
    departures="both LoRAs learn from the first step on (the paper's style LoRA from step 250), and in one pass; "
    "prompts have ordinary guidance, the scheme's draw has style guidance; pictures come in pairs, plain and styled",
    learns="pair",
    promise=("editable", "lora"),
    miniature=dict(rank=16, steps=150, lr=8e-3, batch_size=4, accumulation=1),
)
def pair_customization(
    *,
    rank=64,
    steps=750,
    lr=1e-5,
    batch_size=2,
    accumulation=4,
    weight_decay=1e-2,
    text_guidance=7.5,
    style_guidance=4.0,
    content_prompt="a {0}",
    style_prompt="a {1} of a {0}",
):
    """Customizing Text-to-Image Models with a Single Image Pair."""
    return Recipe(
        space=[
            spaces.LowRank(name="content", rank=rank, basis=0, learns_from=0, used=False),
            spaces.LowRank(name="style", rank=rank, basis=rank, acts_on=1),
        ],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            accumulation=accumulation,
            weight_decay=weight_decay,
            losses=[losses.Denoising()],
        ),
        scheme=schemes.RewardGuidance(text=text_guidance, concept=style_guidance),
        data=inversion.Data(prompts=inversion.prompts.Things((content_prompt, style_prompt)), parts=True),
    )
