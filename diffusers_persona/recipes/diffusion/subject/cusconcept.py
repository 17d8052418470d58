"""arXiv 2410.00398. Official code: xzLcan/CusConcept (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=327,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2410.00398",
    code="xzLcan/CusConcept",
    licence="MIT (by its README)",
    departures="words of the attribute's axis are the caller's, by default colours; words of objects are our own list "
    "of nouns, not all nouns of the tokenizer; the second phase goes on with the first one's optimiser",
    miniature=dict(steps=76, lr=2e-2, attribute_lr=1e-2, batch_size=3, vocabulary=40, explain=10, anchor=0.01),
)
def cusconcept(
    *,
    attributes=inversion.vocabulary.COLOUR_WORDS,
    objects=inversion.vocabulary.OBJECT_WORDS,
    attribute_take=10,
    vocabulary=500,
    explain=50,
    anchor=1.0,
    steps=60,
    attribute_lr=1e-2,
    lr=1e-3,
    batch_size=6,
    object_weight=0.7,
    weight_decay=1e-2,
):
    """CusConcept: Customized Visual Concept Decomposition with Diffusion Models."""
    first = [losses.Denoising(), losses.DenoisingWithout(name="attribute"), losses.OwnPenalty()]
    second = [losses.Denoising(), losses.DenoisingWithout(name="attribute", weight=object_weight), losses.OwnPenalty()]
    return Recipe(
        space=[
            spaces.VocabularyWord(words=objects, most=vocabulary, explain=explain, anchor=anchor),
            spaces.VocabularyWord(words=attributes, take=attribute_take, anchor=anchor, name="attribute"),
        ],
        method=inversion.Optimization(
            steps=steps,
            lr={"word": lr, "word.attribute": attribute_lr},
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=first,
            phases=[
                inversion.Phase(steps=0.5, train=("word",)),
                inversion.Phase(steps=0.5, train=("word",), losses=second),
            ],
        ),
        scheme=schemes.Prompting(with_noun=False, before=("attribute",)),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
