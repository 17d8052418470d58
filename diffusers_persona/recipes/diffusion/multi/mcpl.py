"""arXiv 2310.12274. Official code: AstraZeneca/MCPL (Apache-2.0)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=321,
    family="diffusion",
    category="multi",
    backbones=("sd", "sdxl"),
    paper="2310.12274",
    code="AstraZeneca/MCPL",
    licence="Apache-2.0",
    departures="the words of the things are learned (MCPL-one), not all words of the caption; a row's mask is its own "
    "map's (the official code adds the first row's); positives are the same word in the next row (the official code "
    "shifts by the batch, which is that where the batch is as large as the number of words); unverified: steps",
    miniature=dict(steps=300, lr=2e-2),
    learns="several",
    pictures=1,
    promise=("faithful", "textual-inversion"),
)
def mcpl(
    *,
    steps=6100,
    lr=5e-3,
    batch_size=4,
    contrast_weight=5e-4,
    temperature=0.3,
    adjectives=(),
    mask_threshold=0.3,
    weight_decay=1e-2,
):
    """An Image is Worth Multiple Words: Discovering Object Level Concepts using Multi-Concept Prompt Learning."""
    return Recipe(
        space=[spaces.Word(part="each")],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[
                losses.AttendedDenoising(threshold=mask_threshold),
                losses.PromptContrast(weight=contrast_weight, temperature=temperature, adjectives=adjectives),
            ],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Captions("a photo of {phrase}")),
    )
