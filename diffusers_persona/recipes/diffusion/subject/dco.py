"""arXiv 2402.12004. Official code: kyungmnlee/dco (no licence)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=108,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2402.12004",
    code="kyungmnlee/dco",
    departures="pictures without a comprehensive caption are learned as 'a photo of a {phrase}'; the official class "
    "pictures and minimum-SNR weights, both off by default, are left out",
    miniature=dict(rank=8, steps=100, lr=2e-3, text_lr=1e-2, batch_size=4, beta=20.0),
    promise=(("editable", "lora"), ("remembers", "lora")),
)
def dco(
    *,
    rank=32,
    steps=2000,
    lr=5e-5,
    text_lr=5e-6,
    batch_size=1,
    beta=1000.0,
    text_guidance=5.0,
    concept_guidance=5.0,
    weight_decay=1e-2,
):
    """Direct Consistency Optimization for Compositional Text-to-Image Personalization."""
    return Recipe(
        space=[spaces.Word(init="noun", keep_norm=True), spaces.LowRank(rank=rank)],
        method=inversion.Optimization(
            steps=steps,
            lr={"word": text_lr, "low_rank": lr},
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.ConsistencyPreference(beta=beta)],
        ),
        scheme=schemes.RewardGuidance(with_noun=False, text=text_guidance, concept=concept_guidance),
        data=inversion.Data(prompts=inversion.prompts.Captions("a photo of a {phrase}")),
    )
