"""arXiv 2403.20231. Official code: ICTMCG/U-VAP (no licence)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=161,
    family="diffusion",
    category="style",
    backbones=("sd", "sdxl"),
    paper="2403.20231",
    code="ICTMCG/U-VAP",
    departures="the sentences are templates of ours or the caller's, not a language model's, and fewer than 100; "
    "pictures are chosen by CLIP alone, not by hand. Unverified: steps and learning rate of the first stage",
    miniature=dict(
        whole="a {1} of a {0}",
        target=("a {1} of a dog", "a {1} of a car", "a {1} of a tree"),
        other=("a {0} on the beach", "a {0} in a room", "a {0} on a white background"),
        pictures=4,
        keep=2,
        sampling_steps=12,
        steps=60,
        lr=8e-4,
        text_lr=2e-2,
        away=0.25,
        batch_size=2,
    ),
    learns="stylised",
)
def u_vap(
    *,
    whole="a photo of a {0} in {1}",
    target=("a photo of a cup in {1}", "a photo of a house in {1}", "a photo of a shirt in {1}", "a car in {1}"),
    other=("a photo of a {0}", "a watercolor of a {0}", "a wooden {0}", "a pencil drawing of a {0}"),
    pictures=12,
    keep=5,
    sampling_steps=100,
    steps=1000,
    lr=5e-6,
    text_lr=5e-6,
    away=0.5,
    batch_size=1,
    weight_decay=1e-2,
):
    """U-VAP: User-specified Visual Appearance Personalization via Decoupled Self Augmentation."""
    scheme = schemes.Prompting()
    options = dict(steps=steps, batch_size=batch_size, weight_decay=weight_decay, losses=[losses.Denoising()])
    whole_concept = Recipe(
        space=[spaces.Weights()],
        method=inversion.Optimization(lr=lr, **options),
        scheme=scheme,
        data=inversion.Data(prompts=inversion.prompts.Things((whole,)), parts=True),
    )
    return Recipe(
        space=[spaces.OpposedWord(part="each", away=away), spaces.Weights()],
        method=inversion.Optimization(lr={"word": text_lr, "weights": lr}, **options),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(
            prompts=inversion.prompts.AsWritten(),
            first=inversion.rehearsal.FirstConcept(
                recipe=whole_concept,
                prompts=(*target, *other),
                pictures=pictures,
                keep=keep,
                sampling_steps=sampling_steps,
            ),
        ),
    )
