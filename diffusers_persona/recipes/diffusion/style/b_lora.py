"""arXiv 2403.14572. Official code: yardenfren1996/B-LoRA (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=301,
    family="diffusion",
    category="style",
    backbones=("sdxl", "sd"),
    paper="2403.14572",
    code="yardenfren1996/B-LoRA",
    licence="MIT",
    departures="the blocks are SDXL's up_blocks.0.attentions.0 and .1; on other UNets the first two stacks of "
    "attention on the way up stand for them; AdamW in place of its 8-bit version",
    learns="merged",
    miniature=dict(rank=16, content_block="mid", style_block="up", steps=150, lr=2e-3, batch_size=4),
)
def b_lora(
    *,
    rank=64,
    content_block="up.0",
    style_block="up.1",
    steps=1000,
    lr=5e-5,
    batch_size=1,
    weight_decay=1e-4,
):
    """B-LoRA: Implicit Style-Content Separation."""
    return Recipe(
        space=[
            spaces.LowRank(name="content", rank=rank, blocks=(content_block,)),
            spaces.LowRank(name="style", rank=rank, blocks=(style_block,)),
        ],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising()],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
        merge=schemes.ContentAndStyle(),
    )
