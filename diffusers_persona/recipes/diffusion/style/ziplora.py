"""arXiv 2311.13600. No official code; mkshing/ziplora-pytorch (MIT) is another's."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=162,
    family="diffusion",
    category="style",
    backbones=("sdxl", "sd"),
    paper="2311.13600",
    code="mkshing/ziplora-pytorch (unofficial)",
    licence="MIT",
    departures="the overlap is the mean of |m_1 m_2| over the columns, as in the unofficial code; a merge without "
    "pictures learns from pictures that each concept makes itself",
    learns="merged",
    promise=("faithful", "lora"),
    miniature=dict(rank=8, steps=150, lr=2e-3, batch_size=4, merge_steps=40, merge_lr=0.02),
)
def ziplora(
    *,
    rank=64,
    steps=1000,
    lr=5e-5,
    batch_size=1,
    weight_decay=1e-2,
    merge_steps=100,
    merge_lr=0.01,
    similarity=0.01,
):
    """ZipLoRA: Any Subject in Any Style by Effectively Merging LoRAs."""
    return Recipe(
        space=[spaces.LowRank(rank=rank)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising()],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
        merge=schemes.ColumnMerge(steps=merge_steps, lr=merge_lr, similarity=similarity),
    )
