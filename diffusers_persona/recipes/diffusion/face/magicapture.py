"""arXiv 2309.06895. Official code: junhahyung/MagiCapture (Apache-2.0)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe

PERSON = ("a photo of a {0}",)
STYLE = ("a photo in {1}", "a photo of a {0} in {1}")


@recipe(
    ref=283,
    family="diffusion",
    category="face",
    backbones=("sd", "sdxl"),
    paper="2309.06895",
    code="junhahyung/MagiCapture",
    licence="Apache-2.0",
    departures="one pass a step: the identity is seen on the prediction that is learned from, not at a second "
    "timestep; composed prompts from the first phase on; one rate for all in a phase (the text encoder's is 1e-5 "
    "in the paper); no pull of the words' lengths to 0.4, no soft masks; no restoration of the pictures; faces "
    "as the pictures show them, with a network given as face=",
    miniature=dict(
        rank=8,
        word_steps=50,
        both_steps=80,
        word_lr=2e-2,
        lr=2e-3,
        batch_size=4,
        accumulation=1,
        person_prompts=("a {0}", "a photo of a {0}"),
        style_prompts=("a {1} of a person", "a {1} of a {0}"),
    ),
    learns="portrait",
    masks=True,
)
def magicapture(
    *,
    rank=4,
    word_steps=1200,
    both_steps=1500,
    word_lr=5e-4,
    lr=1e-4,
    batch_size=1,
    accumulation=4,
    schedule="linear",
    further=2.0,
    refocusing=2.5,
    identity_weight=0.25,
    face=None,
    person_prompts=PERSON,
    style_prompts=STYLE,
    weight_decay=1e-3,
):
    """MagiCapture: High-Resolution Multi-Concept Portrait Customization."""
    return Recipe(
        space=[spaces.Word(part="each"), spaces.LowRank(rank=rank, text_encoders=True)],
        method=inversion.Optimization(
            steps=word_steps + both_steps,
            lr=lr,
            batch_size=batch_size,
            accumulation=accumulation,
            schedule=schedule,
            weight_decay=weight_decay,
            losses=[
                losses.OwnPictures(further=further),
                losses.Refocusing(weight=refocusing),
                losses.Identity(weight=identity_weight, margin=None, fade=0.0, face=face, together=True),
            ],
            phases=[
                inversion.Phase(
                    steps=word_steps, train=("word",), lr=word_lr, losses=[losses.OwnPictures(further=further)]
                ),
                inversion.Phase(steps=both_steps, train=("word", "low_rank")),
            ],
        ),
        scheme=schemes.Prompting(with_noun=True),
        data=inversion.Data(prompts=inversion.prompts.EachItsOwn((person_prompts, style_prompts)), parts=True),
    )
