"""arXiv 2412.05148. Official code: donaldssh/LoRA.rar (CC BY-NC-SA 4.0)."""

from .... import inversion, losses, schemes, spaces
from ....recipe import Recipe, recipe


@recipe(
    ref=310,
    family="diffusion",
    category="style",
    backbones=("sdxl", "sd"),
    paper="2412.05148",
    code="donaldssh/LoRA.rar",
    licence="CC BY-NC-SA 4.0",
    departures="the network comes from network= (the official one serves SDXL), or from train_merging_network, whose "
    "outputs begin near 1; the Toybox's is embedded (16 pairs, 12 epochs); AdamW in place of its 8-bit version",
    learns="merged",
    promise=("faster", "lora"),
    miniature=dict(rank=8, steps=150, lr=2e-3, batch_size=4, network="toybox"),
)
def lora_rar(
    *,
    rank=64,
    steps=1000,
    lr=5e-5,
    batch_size=1,
    weight_decay=1e-2,
    network=None,
):
    """LoRA.rar: Learning to Merge LoRAs via Hypernetworks for Subject-Style Conditioned Image Generation."""
    return Recipe(
        space=[spaces.LowRank(rank=rank)],
        method=inversion.Optimization(
            steps=steps,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            losses=[losses.Denoising()],
        ),
        scheme=schemes.Prompting(),
        data=inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}")),
        merge=schemes.PredictedMerge(network=network),
    )
