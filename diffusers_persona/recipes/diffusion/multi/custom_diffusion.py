"""arXiv 2212.04488. Official code: adobe-research/custom-diffusion (Adobe Research License, non-commercial)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=18,
    family="diffusion",
    category="multi",
    backbones=("sd", "sdxl"),
    paper="2212.04488",
    code="adobe-research/custom-diffusion",
    licence="Adobe Research License (non-commercial)",
    departures="the prior set is the caller's folder of real pictures, else generated (in the paper LAION's); "
    "each picture is resized in 32 ways drawn once, not in a new way at each step",
    miniature=dict(lr=3e-3, prior_count=32, small_words=("a small",), large_words=("a big",)),
)
def custom_diffusion(
    *,
    steps=250,
    lr=8e-5,
    batch_size=4,
    prior_weight=1.0,
    prior_count=200,
    augment=True,
    small_words=("a far away", "very small"),
    large_words=("zoomed in", "close up"),
    weight_decay=1e-2,
):
    """Multi-Concept Customization of Text-to-Image Diffusion."""
    resize = inversion.augmentation.ResizeWithCaption(small_words=small_words, large_words=large_words)
    return Recipe(
        space=[
            spaces.Word(init="rare"),
            spaces.KeyWeights(attention="cross", projections=("key", "value"), detach_start=True),
        ],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising(), losses.PriorPreservation(weight=prior_weight, count=prior_count, real=True)],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(
            prompts=inversion.prompts.Fixed("photo of a {phrase}"),
            augmentation=[resize] if augment else [],
        ),
        merge=schemes.ConstrainedKeyValueMerge(),
    )
