"""arXiv 2106.09685 (LoRA) with DreamBooth's data and loss. Official code: microsoft/LoRA (MIT)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=85,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2106.09685",
    code="microsoft/LoRA; cloneofsimo/lora",
    licence="MIT; Apache-2.0",
    departures="the paper adapts language models; targets and numbers are those in use for diffusion models",
    miniature=dict(rank=8, steps=200, lr=2e-3, batch_size=4),
)
def lora(
    *,
    rank=4,
    alpha=None,
    targets=("to_q", "to_k", "to_v", "to_out.0"),
    rank_stabilised=False,
    dora=False,
    dropout=0.0,
    train_text_encoder=False,
    steps=1000,
    lr=1e-4,
    batch_size=1,
    prior_weight=0.0,
    prior_count=200,
    weight_decay=1e-2,
):
    """LoRA: Low-Rank Adaptation of Large Language Models, for diffusion personalization."""
    return Recipe(
        space=[
            spaces.LowRank(
                rank=rank,
                alpha=alpha,
                targets=targets,
                rank_stabilised=rank_stabilised,
                dora=dora,
                dropout=dropout,
                text_encoders=train_text_encoder,
            )
        ],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising(), losses.PriorPreservation(weight=prior_weight, count=prior_count)],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
    )
