"""arXiv 2401.06105. No official code."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=125,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2401.06105",
    code="none",
    departures="the concept is learned for one prompt, target=. Unverified: rank, both guidance scales, weight of the "
    "alignment, learning rates and steps; noise levels of the distillation are drawn uniformly and weigh the same",
    miniature=dict(
        target="a {phrase} in the snow", rank=8, steps=80, lr=2e-3, text_lr=1e-2, batch_size=2, alignment=0.02
    ),
    promise=("editable", "lora"),
)
def palp(
    *,
    target="a painting of a {phrase}",
    rank=32,
    steps=500,
    lr=1e-4,
    text_lr=1e-3,
    batch_size=1,
    alignment=0.1,
    target_guidance=15.0,
    guidance=7.5,
    weight_decay=1e-2,
):
    """PALP: Prompt Aligned Personalization of Text-to-Image Models."""
    align = losses.PromptAlignment(target=target, weight=alignment, target_guidance=target_guidance, guidance=guidance)
    return Recipe(
        space=[spaces.Word(init="noun"), spaces.LowRank(rank=rank)],
        method=inversion.Optimization(
            steps=steps,
            lr={"word": text_lr, "low_rank": lr},
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising(), align],
        ),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a photo of a {phrase}")),
    )
