"""arXiv 2403.06775. Official code: modelscope/facechain, more_apps/Facechain-SuDe (Apache-2.0)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=111,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2403.06775",
    code="modelscope/facechain",
    licence="Apache-2.0 (the repository's; that of the sub-folder is unverified)",
    departures="the loss is the mean over the rows of a batch; the official batch is one picture. Unverified: the "
    "number of steps",
    miniature=dict(steps=80, lr=4e-4, batch_size=2, prior_weight=1.0, prior_count=32),
    promise=("editable", "dreambooth"),
)
def facechain_sude(
    *, steps=1000, lr=1e-6, batch_size=1, derived_weight=0.4, prior_weight=2.0, prior_count=50, weight_decay=1e-2
):
    """FaceChain-SuDe: Building Derived Class to Inherit Category Attributes for One-shot Subject-Driven Generation."""
    return Recipe(
        space=[spaces.Weights()],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[
                losses.Denoising(),
                losses.DerivedClass(weight=derived_weight),
                losses.PriorPreservation(weight=prior_weight, count=prior_count),
            ],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("photo of a {phrase}"), prior_prompt="photo of a {noun}"),
    )
