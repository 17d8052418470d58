"""arXiv 2209.12330. Official code: vicgalle/stable-diffusion-aesthetic-gradients (CreativeML OpenRAIL-M)."""

from .... import inversion, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=302,
    family="diffusion",
    category="style",
    backbones=("sd",),
    paper="2209.12330",
    code="vicgalle/stable-diffusion-aesthetic-gradients",
    licence="CreativeML OpenRAIL-M",
    departures="every prompt but the empty one is tuned, a negative prompt, too; on miniature hosts, whose text "
    "encoder belongs to no CLIP, a linear map fitted to captions takes the place of CLIP's text projection",
    miniature=dict(updates=10, lr=2e-3),
    promise=(("faster", "textual-inversion"), ("smaller", "lora")),
)
def aesthetic_gradients(*, updates=5, lr=1e-4, clip=None):
    """Personalizing Text-to-Image Generation via Aesthetic Gradients."""
    return Recipe(
        space=[spaces.TunedText(updates=updates, lr=lr, clip=clip)],
        method=inversion.Optimization(steps=0, lr=lr, losses=[]),
        scheme=schemes.Prompting(with_token=False),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
