"""arXiv 2305.19327. Official code: ali-vilab/Cones-V2 (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=174,
    family="diffusion",
    category="multi",
    backbones=("sd",),
    paper="2305.19327",
    code="ali-vilab/Cones-V2",
    licence="MIT",
    departures="a layout step is done once, not twice with noise added again between; a subject's region is given to "
    "attach(region=) and guides all steps; the token table stays frozen; unverified: the templates of the mean, which "
    "are Textual Inversion's here",
    miniature=dict(steps=150, lr=2e-3, batch_size=4),
    promise=(("smaller", "dreambooth"), ("editable", "dreambooth")),
)
def cones2(
    *,
    steps=4000,
    lr=5e-6,
    batch_size=1,
    start_weight=1e-2,
    rest_weight=1e-3,
    templates=inversion.prompts.OBJECT_TEMPLATES,
    guidance=0.08,
    active=2.5,
    inactive=-1e8,
    weight_decay=1e-2,
):
    """Cones 2: Customizable Image Synthesis with Multiple Subjects."""
    return Recipe(
        space=[spaces.TextResidual(templates=templates, guidance=guidance, active=active, inactive=inactive)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising(), losses.OtherTokens(start=start_weight, rest=rest_weight)],
        ),
        scheme=schemes.Prompting(with_token=False),
        data=inversion.Data(prompts=inversion.prompts.Fixed("{phrase}")),
    )
