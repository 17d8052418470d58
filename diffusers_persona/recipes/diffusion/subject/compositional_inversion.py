"""arXiv 2312.08048. Official code: zhangxulu1996/Compositional-Inversion (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=263,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2312.08048",
    code="zhangxulu1996/Compositional-Inversion",
    licence="MIT",
    departures="the masked loss is the paper's (the official script takes the mean before it multiplies by the mask, "
    "which is then without effect); lr is the final rate; boxes are the caller's",
    miniature=dict(vectors=2, steps=300, lr=2e-2, accumulation=1, anchor_weight=0.1),
    masks=True,
    promise=("editable", "textual-inversion"),
)
def compositional_inversion(
    *,
    vectors=3,
    steps=5000,
    lr=4e-2,
    batch_size=4,
    accumulation=2,
    reconstruction_weight=0.05,
    anchor_weight=0.95,
    layout_scale=30.0,
    layout_threshold=0.2,
    layout_iterations=5,
    layout_steps=10,
    weight_decay=1e-2,
):
    """Compositional Inversion for Stable Diffusion Models."""
    return Recipe(
        space=[spaces.Word(vectors=vectors)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            accumulation=accumulation,
            weight_decay=weight_decay,
            losses=[losses.Denoising(weight=reconstruction_weight), losses.Anchor(weight=anchor_weight)],
        ),
        scheme=schemes.SpatialInversion(
            scale=layout_scale, threshold=layout_threshold, iterations=layout_iterations, steps=layout_steps
        ),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
