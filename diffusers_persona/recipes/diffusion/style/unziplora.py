"""arXiv 2412.04465. Official code: changLiu77/UnZipLoRA (no licence)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=163,
    family="diffusion",
    category="style",
    backbones=("sdxl", "sd"),
    paper="2412.04465",
    code="changLiu77/UnZipLoRA",
    departures="columns are ranked in one step by the sum of weight times gradient over the outputs, not by the share "
    "of large entries in an epoch; blocks are not divided between content and style",
    learns="stylised",
    miniature=dict(rank=32, columns=0.3, column_period=50, steps=150, lr=1e-3, batch_size=4),
)
def unziplora(
    *,
    rank=64,
    steps=600,
    lr=5e-5,
    merger_rate=100.0,
    columns=0.1,
    column_period=200,
    similarity=0.5,
    batch_size=1,
    weight_decay=1e-2,
    prompt="a {1} of a {0}",
    content_prompt="a {0}",
    style_prompt="a {1} of a {nouns[0]}",
):
    """UnZipLoRA: Separating Content and Style from a Single Image."""
    return Recipe(
        space=[
            spaces.LowRank(
                name="content",
                rank=rank,
                up_init="normal",
                merger_rate=merger_rate,
                columns=columns,
                column_period=column_period,
                prompt=content_prompt,
            ),
            spaces.LowRank(
                name="style",
                rank=rank,
                up_init="normal",
                merger_rate=merger_rate,
                columns=columns,
                column_period=column_period,
                prompt=style_prompt,
            ),
        ],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising(), losses.MergerOverlap(weight=similarity)],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Things((prompt,)), parts=True),
        merge=schemes.ContentAndStyle(),
    )
