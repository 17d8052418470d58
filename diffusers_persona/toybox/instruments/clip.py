"""Training of the world's CLIP: a small stock CLIPModel on pictures and captions of what training may see."""

from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer

from .attributes import HEADS, attribute_loss, encode_targets
from .augmentation import degrade, to_pixels
from .fitting import Plan, fit
from .pictures import PictureSet

PLAN = Plan(samples=60_000, batch=128, lr=1e-3, muon_scale=10.0)
MAX_LENGTH = 32
DIMENSIONS = 128
AUXILIARY_WEIGHT = 0.25
"""Weight of reading attributes off the picture features, which speeds up what contrast alone learns slowly."""


def processor(tokenizer: CLIPTokenizer) -> CLIPProcessor:
    """The stock processor: bicubic to 64x64 and [-1, 1] by the PIL backend, so that it loads without torchvision."""
    from transformers import CLIPImageProcessorPil

    size = {"height": 64, "width": 64}
    pictures = CLIPImageProcessorPil(
        size=size, resample=3, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_convert_rgb=True
    )
    return CLIPProcessor(image_processor=pictures, tokenizer=tokenizer)


def new_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """An untrained CLIPModel of 64x64 pictures (64 patches) and captions of at most 32 tokens of `tokenizer`."""
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": MAX_LENGTH, "hidden_act": "gelu", **special,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "image_size": 64, "patch_size": 8, "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 4, "hidden_act": "gelu",
    }  # fmt: skip
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIMENSIONS))


class AttributeReader(nn.Module):
    """Linear heads on the pooled picture features; used in training alone."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = nn.ModuleDict({head: nn.Linear(width, len(names)) for head, names in HEADS.items()})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {head: layer(features) for head, layer in self.heads.items()}


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor, alike: Tensor) -> Tensor:
    """InfoNCE both ways over unit features [N, d]; pairs `alike` [N, N], of the same words, are no negatives."""
    logits = scale.exp().clamp(max=60) * images.float() @ texts.float().T
    own = torch.eye(len(logits), dtype=torch.bool)
    logits = logits.masked_fill(alike & ~own, -1e4)
    answers = torch.arange(len(logits))
    return (F.cross_entropy(logits, answers) + F.cross_entropy(logits.T, answers)) / 2


def train(pictures: PictureSet, tokenizer: CLIPTokenizer, work: Path, plan: Plan = PLAN) -> CLIPModel:
    """Fit CLIP to the pictures of `pictures` that show nothing held out, with their captions; resumes from `work`."""
    torch.manual_seed(plan.seed)
    rows = torch.tensor([row for row, label in enumerate(pictures.labels) if not label["held_out"]])
    labels = [pictures.labels[row] for row in rows.tolist()]
    answers = encode_targets(labels)
    tokens = tokenizer(
        [label["caption"] for label in labels], padding="max_length", truncation=True, return_tensors="pt"
    )
    ids, seen = tokens["input_ids"], tokens["attention_mask"]
    model = new_clip(tokenizer)
    reader = AttributeReader(model.config.vision_config.hidden_size)

    def loss(indices: Tensor, generator: Generator) -> Tensor:
        indices = indices.unique()
        pixels = degrade(to_pixels(torch.from_numpy(pictures.images[rows[indices].numpy()])), generator, shift=2)
        length = int(seen[indices].sum(1).max())
        words, mask = ids[indices, :length], seen[indices, :length]
        seeing = model.vision_model(pixel_values=pixels).pooler_output
        reading = model.text_model(input_ids=words, attention_mask=mask).pooler_output
        images = F.normalize(model.visual_projection(seeing).float(), dim=-1)
        texts = F.normalize(model.text_projection(reading).float(), dim=-1)
        alike = (words[:, None] == words[None]).all(-1)
        auxiliary = attribute_loss(reader(seeing), {head: answer[indices] for head, answer in answers.items()})
        return contrastive_loss(images, texts, model.logit_scale, alike) + AUXILIARY_WEIGHT * auxiliary

    fit(nn.ModuleDict({"model": model, "reader": reader}), loss, plan, count=len(rows), folder=work)
    return model
