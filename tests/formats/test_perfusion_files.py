"""Perfusion checkpoints of ChenDarYen's port: the word, i*, C^-1 and outputs for each position of the text."""

import pytest
import torch
from factors import draw, pipe_of
from torch.nn import functional as F

from diffusers_persona import Concept, PersonaError
from diffusers_persona.formats import ldm


def checkpoint(pipe, width=32, length=77):
    """The content of such a file, with the tiny UNet's layers under their original names."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(width, width, generator=generator)
    outputs = {}
    for name, module in pipe.unet.named_modules():
        if name.endswith("attn2"):
            layer = ldm.from_diffusers(name, pipe.unet.config.layers_per_block, len(pipe.unet.config.down_block_types))
            for part in ("to_k", "to_v"):
                rows = getattr(module, part).out_features
                outputs[f"{layer}.{part}.target_output"] = torch.randn(length, rows, generator=generator)
    return {
        "global_step": 400,
        "C_inv": root @ root.T / width + torch.eye(width),
        "target_input": torch.randn(width, generator=generator),
        "embedding": {
            "string_to_token": {"*": torch.tensor(265)},
            "string_to_param": {"*": torch.randn(1, width, generator=generator)},
        },
        "target_output": outputs,
    }


@pytest.mark.evidence(level="formats", recipe="perfusion")
def test_a_checkpoint_edits_keys_and_values_by_its_gate(tmp_path):
    pipe = pipe_of("sd")
    content = checkpoint(pipe)
    torch.save(content, tmp_path / "personalised.ckpt")
    concept = Concept.from_file(tmp_path / "personalised.ckpt", token="<mug>")
    assert [space.kind for space in concept.spaces] == ["word", "rank_one"] and not concept.report.unused
    name = next(name for name, _ in pipe.unet.named_modules() if name.endswith("attn2"))
    layer, encodings = pipe.unet.get_submodule(name), torch.randn(2, 77, 32)
    key = ldm.from_diffusers(name, pipe.unet.config.layers_per_block, len(pipe.unet.config.down_block_types))
    target, inverse = content["target_input"], content["C_inv"]
    ratio = (encodings @ inverse @ target / (target @ inverse @ target))[..., None]
    output = content["target_output"][f"{key}.to_v.target_output"]
    expected = F.linear(encodings - ratio * target, layer.to_v.weight) + torch.sigmoid((ratio - 0.6) / 0.15) * output
    with concept.attach(pipe):
        assert torch.allclose(layer.to_v(encodings), expected, atol=1e-4)
        drawn = draw(pipe, "a photo of <mug>")
    assert abs(drawn - draw(pipe, "a photo of cat")).max() > 1e-3


def test_a_checkpoint_without_its_covariance_is_refused(tmp_path):
    content = checkpoint(pipe_of("sd"))
    del content["C_inv"]
    torch.save(content, tmp_path / "personalised.ckpt")
    with pytest.raises(PersonaError, match="C_inv is missing"):
        Concept.from_file(tmp_path / "personalised.ckpt")
