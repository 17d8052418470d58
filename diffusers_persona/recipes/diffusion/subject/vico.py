"""arXiv 2306.00971. Official code: haoosz/ViCo (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=96,
    family="diffusion",
    category="subject",
    backbones=("sd",),
    paper="2306.00971",
    code="haoosz/ViCo",
    licence="MIT",
    departures="another picture is the reference of each picture in learning, by turns and not at random; the first "
    "one is kept with the concept (schemes.with_reference exchanges it); unverified: whether the official rates are "
    "multiplied by the number of GPUs",
    miniature=dict(steps=120, word_lr=2e-2, lr=1e-3),
    promise=(("faithful", "textual-inversion"), ("faster", "dreambooth")),
)
def vico(*, steps=400, word_lr=5e-3, lr=1e-5, batch_size=4, every=2, attention_weight=5e-4, weight_decay=1e-2):
    """ViCo: Plug-and-play Visual Condition for Personalized Text-to-image Generation."""
    return Recipe(
        space=[spaces.Word(), spaces.ImageAttention(every=every)],
        method=inversion.Optimization(
            steps=steps,
            lr={"word": word_lr, "image_attention": lr},
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising(), losses.ReferenceAttention(weight=attention_weight)],
        ),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
