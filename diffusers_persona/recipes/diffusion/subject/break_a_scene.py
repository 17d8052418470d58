"""arXiv 2305.16311. Official code: google/break-a-scene (Apache-2.0)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=104,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2305.16311",
    code="google/break-a-scene",
    licence="Apache-2.0",
    departures="words begin as their class words (the official default is rows of the table's end); all layers with "
    "the second smallest maps are averaged, the middle's too where its maps have that size",
    miniature=dict(
        steps=240,
        word_part=0.7,
        word_lr=2e-2,
        lr=1e-4,
        batch_size=2,
        attention_weight=0.1,
        prior_prompt="a cat on the beach",
        prior_count=32,
    ),
    learns="several",
    pictures=1,
    masks=True,
    promise=(("faithful", "textual-inversion"), ("editable", "custom-diffusion")),
)
def break_a_scene(
    *,
    steps=800,
    word_part=0.5,
    word_lr=5e-4,
    lr=2e-6,
    batch_size=1,
    attention_weight=0.01,
    prior_weight=1.0,
    prior_prompt="a photo at the beach",
    prior_count=100,
    weight_decay=1e-2,
):
    """Break-A-Scene: Extracting Multiple Concepts from a Single Image."""
    return Recipe(
        space=[spaces.Word(part="each"), spaces.Weights(text_encoders=True)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            phases=[
                inversion.Phase(steps=word_part, train=("word",), lr=word_lr),
                inversion.Phase(steps=1.0, train=("word", "weights")),
            ],
            losses=[
                losses.UnionDenoising(),
                losses.AttentionInMasks(weight=attention_weight),
                losses.PriorPreservation(weight=prior_weight, count=prior_count),
            ],
        ),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(
            prompts=inversion.prompts.Subsets("a photo of {phrase}"), prior_prompt=prior_prompt, needs=("masks",)
        ),
    )
