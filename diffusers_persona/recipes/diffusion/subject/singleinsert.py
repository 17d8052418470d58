"""arXiv 2310.08094. Official code: JarrentWu1031/SingleInsert (no licence)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=107,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2310.08094",
    code="JarrentWu1031/SingleInsert",
    licence="none stated",
    departures="one prompt, 'a photo of <token> <noun>', in place of the bare '<token> <noun>'",
    miniature=dict(
        side=64, patch=16, width=128, layers=2, heads=4, rank=8, word_steps=50, both_steps=50, word_lr=1e-3, lr=2e-3
    ),
    pictures=1,
    masks=True,
    promise=(("disentangled", "dreambooth"), ("faster", "dreambooth")),
)
def singleinsert(
    *,
    side=224,
    patch=32,
    width=768,
    layers=12,
    heads=12,
    rank=4,
    train_text_encoder=False,
    word_steps=50,
    both_steps=50,
    word_lr=1e-4,
    lr=5e-5,
    batch_size=4,
    background=1.0,
    semantic=1.0,
):
    """SingleInsert: Inserting New Concepts from a Single Image into Text-to-Image Models for Flexible Editing."""
    return Recipe(
        space=[
            spaces.ImageWord(side=side, patch=patch, width=width, layers=layers, heads=heads),
            spaces.LowRank(rank=rank, text_encoders=train_text_encoder),
        ],
        method=inversion.Optimization(
            steps=word_steps + both_steps,
            lr=lr,
            batch_size=batch_size,
            losses=[losses.Insertion(background=background, semantic=semantic)],
            phases=[
                inversion.Phase(
                    steps=word_steps, train=("word",), lr=word_lr, losses=[losses.Insertion(background=background)]
                ),
                inversion.Phase(steps=both_steps, train=("word", "low_rank")),
            ],
        ),
        scheme=schemes.Prompting(with_noun=True),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a photo of {phrase}"), needs=("masks",)),
    )
