"""arXiv 2303.08767. Official code: HiPer0/HiPer (no licence stated)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=78,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2303.08767",
    code="HiPer0/HiPer",
    licence="none stated",
    departures="AdamW in place of 8-bit Adam; the vectors act on prompts that hold the class word, so that the empty "
    "prompt and other prompts stay stock; on SDXL both text encoders have vectors and the pooled vector stays stock",
    miniature=dict(steps=120, lr=1e-2, batch_size=4),
    pictures=1,
    promise=("faster", "textual-inversion"),
)
def hiper(*, vectors=5, steps=1300, lr=5e-3, batch_size=1, use=0.8, weight_decay=1e-2):
    """Highly Personalized Text Embedding for Image Manipulation by Stable Diffusion."""
    return Recipe(
        space=[spaces.TextOutput(vectors=vectors, use=use)],
        method=inversion.Optimization(
            steps=steps, lr=lr, batch_size=batch_size, weight_decay=weight_decay, losses=[losses.Denoising()]
        ),
        scheme=schemes.Prompting(with_token=False),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a photo of a {phrase}")),
    )
