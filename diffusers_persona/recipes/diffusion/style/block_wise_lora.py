"""arXiv 2403.07500. No official code."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=311,
    family="diffusion",
    category="style",
    backbones=("sd", "sdxl"),
    paper="2403.07500",
    departures="unverified: which blocks the paper gives to a style, its rank and its numbers of learning; here a "
    "style has the way up, and blocks=('down', 'mid') leaves the rest to an identity",
    miniature=dict(rank=8, steps=150, lr=2e-3, batch_size=4),
)
def block_wise_lora(
    *,
    rank=8,
    blocks=("up",),
    targets=("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "conv1", "conv2"),
    steps=1000,
    lr=1e-4,
    batch_size=1,
    weight_decay=1e-2,
):
    """Block-wise LoRA: Revisiting Fine-grained LoRA for Effective Personalization and Stylization."""
    return Recipe(
        space=[spaces.LowRank(rank=rank, blocks=blocks, targets=targets)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising()],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
        merge=schemes.Sum(),
    )
