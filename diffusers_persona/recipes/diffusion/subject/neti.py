"""arXiv 2305.15391. Official code: NeuralTextualInversion/NeTI (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=80,
    family="diffusion",
    category="subject",
    backbones=("sd",),
    paper="2305.15391",
    code="NeuralTextualInversion/NeTI",
    licence="MIT",
    departures="lr is the final rate (the official 1e-3 times batch 2 and accumulation 4); one positional encoding, "
    "that of the paper; where a text is read once for all layers (a ControlNet), the mean over the layers at half the "
    "noise stands for them",
    promise=(("faithful", "textual-inversion"), ("editable", "textual-inversion")),
    miniature=dict(steps=150, lr=4e-3, batch_size=4, accumulation=1, frequencies=128, hidden=64),
)
def neti(
    *,
    frequencies=1024,
    sigma_time=0.03,
    sigma_layer=2.0,
    anchors=10,
    hidden=128,
    nested_dropout=0.5,
    bypass=0.2,
    keep=None,
    steps=1000,
    lr=8e-3,
    batch_size=2,
    accumulation=4,
    weight_decay=1e-2,
):
    """A Neural Space-Time Representation for Text-to-Image Personalization."""
    return Recipe(
        space=[
            spaces.SpaceTime(
                frequencies=frequencies,
                sigma_time=sigma_time,
                sigma_layer=sigma_layer,
                anchors=anchors,
                hidden=hidden,
                nested_dropout=nested_dropout,
                bypass=bypass,
                keep=keep,
            )
        ],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            accumulation=accumulation,
            weight_decay=weight_decay,
            losses=[losses.Denoising()],
        ),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
