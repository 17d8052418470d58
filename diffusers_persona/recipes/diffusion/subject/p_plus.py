"""arXiv 2303.09522. No official code; unofficial port: mkshing/prompt-plus-pytorch (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=79,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2303.09522",
    code="none official; port: mkshing/prompt-plus-pytorch",
    licence="MIT (port)",
    departures="the paper's density regulariser, an option of its analysis, is left out; on SDXL a layer is a block "
    "of the U-Net that reads the text (11 blocks), and the pooled vector sees the mean over the layers",
    promise=(("faithful", "textual-inversion"), ("faster", "textual-inversion")),
    miniature=dict(steps=150, lr=2e-2, batch_size=4, mix=(1, 2)),
)
def p_plus(*, init=("noun",), steps=500, lr=5e-3, batch_size=8, weight_decay=1e-2, mix=(5, 10)):
    """P+: Extended Textual Conditioning in Text-to-Image Generation."""
    return Recipe(
        space=[spaces.PPlus(init=init)],
        method=inversion.Optimization(
            steps=steps, lr=lr, batch_size=batch_size, weight_decay=weight_decay, losses=[losses.Denoising()]
        ),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
        merge=schemes.LayerMix(first=mix[0], last=mix[1]),
    )
