"""arXiv 2305.01644. No official code; unofficial: ChenDarYen/Key-Locked-Rank-One-Editing-... (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=84,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2305.01644",
    code="ChenDarYen/Key-Locked-Rank-One-Editing-for-Text-to-Image-Personalization, lucidrains/perfusion-pytorch "
    "(both unofficial)",
    licence="MIT (unofficial code)",
    departures="C is computed from prompts of the host's own vocabulary, in the paper from 100k captions; one output "
    "vector a layer as in the paper, in the unofficial code one for each text position; the mask is the caller's",
    masks=True,
    promise=(("editable", "textual-inversion"), ("smaller", "lora")),
    miniature=dict(steps=120, lr_word=2e-2, lr_output=3e-2, batch_size=4),
)
def perfusion(
    *,
    bias=0.75,
    temperature=0.1,
    bias_in_use=0.75,
    temperature_in_use=0.1,
    decay=0.99,
    steps=400,
    lr_word=6e-3,
    lr_output=3e-2,
    batch_size=16,
    weight_decay=1e-2,
):
    """Key-Locked Rank One Editing for Text-to-Image Personalization (Perfusion)."""
    return Recipe(
        space=[
            spaces.Word(init="noun"),
            spaces.RankOne(
                bias=bias,
                temperature=temperature,
                bias_in_use=bias_in_use,
                temperature_in_use=temperature_in_use,
                decay=decay,
            ),
        ],
        method=inversion.Optimization(
            steps=steps,
            lr={"word": lr_word, "rank_one": lr_output},
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising()],
        ),
        scheme=schemes.Prompting(with_noun=False),
        data=inversion.Data(prompts=inversion.prompts.Neutral()),
    )
