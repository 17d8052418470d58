"""arXiv 2408.15914. No official code."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=112,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2408.15914",
    departures="our own list of contexts; unverified: steps, rates, batch and the share of the first stage; test-time "
    "optimization for one prompt is contexts=(that prompt,)",
    miniature=dict(steps=150, word_lr=3e-2, lr=2e-4),
    promise=(("editable", "textual-inversion"), ("editable", "dreambooth")),
)
def core(
    *,
    steps=1000,
    word_part=0.5,
    word_lr=5e-3,
    lr=2e-6,
    batch_size=4,
    embedding_weight=1.5e-4,
    attention_weight=0.05,
    contexts=inversion.prompts.CONTEXTS,
    weight_decay=1e-2,
):
    """CoRe: Context-Regularized Text Embedding Learning for Text-to-Image Personalization."""
    return Recipe(
        space=[spaces.Word(keep_norm=True), spaces.Weights()],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising()],
            phases=[
                inversion.Phase(
                    steps=word_part,
                    train=("word",),
                    lr=word_lr,
                    losses=[
                        losses.Denoising(),
                        losses.ContextEmbedding(weight=embedding_weight, contexts=contexts),
                        losses.ContextAttention(weight=attention_weight, contexts=contexts),
                    ],
                ),
                inversion.Phase(steps=1.0, train=("weights",)),
            ],
        ),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a photo of {phrase}")),
    )
