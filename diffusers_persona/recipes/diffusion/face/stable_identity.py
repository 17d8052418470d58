"""arXiv 2401.15975. Official code: qinghew/StableIdentity (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=133,
    family="diffusion",
    category="face",
    backbones=("sd", "sdxl"),
    paper="2401.15975",
    code="qinghew/StableIdentity",
    licence="MIT",
    departures="our own list of names; one mask with weights (face white, hair grey) in place of a face and a hair "
    "mask from a face parser; the face network is named with face=",
    miniature=dict(names="toybox", steps=150, lr=2e-3, batch_size=4, clean_weight=1.0),
    pictures=1,
    masks=True,
    promise=(("editable", "textual-inversion"), ("faithful", "textual-inversion")),
)
def stable_identity(
    *,
    names="celebrities",
    face=None,
    steps=450,
    lr=5e-5,
    batch_size=1,
    switch=0.6,
    clean_weight=1 / 0.18215**2,
    weight_decay=1e-2,
):
    """StableIdentity: Inserting Anybody into Anywhere at First Sight."""
    return Recipe(
        space=[spaces.NameStatistics(names=names, face=face)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.NoisyThenClean(switch=switch, clean_weight=clean_weight)],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Neutral(inversion.prompts.PERSON_TEMPLATES)),
    )
