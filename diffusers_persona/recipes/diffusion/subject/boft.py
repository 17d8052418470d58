"""arXiv 2311.06243. No official repository; the authors' layers and script are part of PEFT (Apache-2.0)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=100,
    family="diffusion",
    category="subject",
    backbones=("sd", "sdxl"),
    paper="2311.06243",
    code="huggingface/peft (examples/boft_dreambooth)",
    licence="Apache-2.0",
    departures="unverified: learning rate and steps of the authors' runs (the numbers are those of PEFT's example)",
    promise=("remembers", "lora"),
    miniature=dict(steps=90, lr=5e-4, batch_size=2, prior_count=32),
)
def boft(
    *,
    blocks=4,
    factors=2,
    dropout=0.1,
    magnitudes=True,
    targets=("to_q", "to_k", "to_v", "to_out.0"),
    steps=1000,
    lr=3e-5,
    batch_size=1,
    prior_weight=1.0,
    prior_count=200,
    weight_decay=1e-2,
):
    """BOFT: Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization."""
    return Recipe(
        space=[
            spaces.Orthogonal(blocks=blocks, factors=factors, dropout=dropout, magnitudes=magnitudes, targets=targets)
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
