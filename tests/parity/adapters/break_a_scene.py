"""Break-A-Scene: the masked loss, the prior loss and the attention loss of one step, with their gradients."""

import torch.nn.functional as F

from diffusers_persona import losses
from diffusers_persona.attention.store import AttentionView
from diffusers_persona.spaces import Part, Subject

RECIPE = "break-a-scene"


class KnownPlaces(losses.Step):
    """A step whose prompts are rows of token ids, and whose words are ids."""

    def positions(self, prompt, word):
        return [place for place, token in enumerate(prompt) if token == word]


def run(case, config, t):
    """The official batch has the prior first; ours has it last."""
    count = config["train_batch_size"]
    leaves = {name: t[name].clone().requires_grad_(True) for name in ("model_pred", "attn_up", "attn_down")}
    words = [config["placeholder_token_ids"][i] for i in t["token_ids"].tolist()]
    maps = {name: leaves[name].unflatten(0, (count, -1)) for name in ("attn_up", "attn_down")}
    side = config["latent_size"]
    step = KnownPlaces(
        prediction=leaves["model_pred"].flip(0),
        target=t["target"].flip(0),
        masks=None,
        part_masks=F.interpolate(t["instance_masks"], (side, side)).transpose(0, 1),
        concept_rows=count,
        prompts=[tuple(row) for row in t["input_ids"].flip(0).tolist()],
        attention=AttentionView(maps),
        world=losses.World(
            host=None,
            stock=None,
            subject=Subject(token="", noun="", parts=tuple(Part(token=word, noun="") for word in words)),
            learners={},
            text=None,
            stock_text=None,
            schedule=None,
            autocast=None,
        ),
    )
    attention = losses.AttentionInMasks(weight=config["lambda_attention"])(step)
    prior = losses.PriorPreservation(weight=config["prior_loss_weight"])(step)
    loss = losses.UnionDenoising()(step) + attention + prior
    loss.backward()
    return {
        "loss": loss.detach(),
        "attn_loss": attention.detach(),
        "grad_pred": leaves["model_pred"].grad[:, :, ::2, ::2],
        "grad_attn_up": leaves["attn_up"].grad,
    }
