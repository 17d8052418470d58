"""Files of methods that divide LoRAs or merge them, in the layouts of their official releases."""

import dataclasses

import pytest
import torch
from factors import ATTENTION, draw, factors, layers, pipe_of, product, stock_picture, weights
from safetensors.torch import load_file, save_file

from diffusers_persona import Concept, PersonaError, schemes

BLOCKS = {"content": "up_blocks.0.attentions.0", "style": "up_blocks.0.attentions.1"}


def older(root, names, prefix="unet."):
    """A LoRA of these layers under older diffusers keys."""
    content = {}
    for name in names:
        down, up = factors(root, name)
        content |= {f"{prefix}{name}.lora.down.weight": down, f"{prefix}{name}.lora.up.weight": up}
    return content


@pytest.mark.evidence(level="formats", recipe="b-lora")
def test_a_b_lora_file_has_a_content_and_a_style(tmp_path):
    pipe = pipe_of("sdxl")
    names = [name for name in layers(pipe.unet, ATTENTION) if name.startswith(tuple(BLOCKS.values()))]
    save_file(older(pipe.unet, names), tmp_path / "pytorch_lora_weights.safetensors")
    concept = Concept.from_file(tmp_path / "pytorch_lora_weights.safetensors")
    assert [space.name for space in concept.spaces] == ["content", "style"]
    assert len(concept.report.matched) == 2 * len(names)
    for part, block in BLOCKS.items():
        alone = weights(pipe, schemes.only(concept, part), "unet", names)
        for name in names:
            expected = product(*factors(pipe.unet, name)) if name.startswith(block) else torch.zeros_like(alone[name])
            assert torch.allclose(alone[name], expected, atol=1e-5)
    written = concept.export("b-lora", tmp_path / "out")
    saved, stock = (load_file(path) for path in (written[0], tmp_path / "pytorch_lora_weights.safetensors"))
    assert saved.keys() == stock.keys() and all(torch.equal(saved[key], stock[key]) for key in stock)


@pytest.mark.evidence(level="formats", recipe="ziplora")
def test_a_merged_file_of_full_matrices_is_read_exactly(tmp_path):
    pipe = pipe_of("sdxl")
    names = layers(pipe.unet, ATTENTION)[:6]
    full = {name: product(*factors(pipe.unet, name)) for name in names}
    save_file({f"unet.unet.{name}.lora.weight": value for name, value in full.items()}, tmp_path / "zip.safetensors")
    concept = Concept.from_file(tmp_path / "zip.safetensors")
    assert len(concept.report.matched) == 6 and not concept.report.unused
    found = weights(pipe, concept, "unet", names)
    assert all(torch.allclose(found[name], full[name], atol=1e-5) for name in names)


@pytest.mark.evidence(level="formats", recipe="unziplora")
def test_the_two_files_of_a_divided_picture_are_loras(tmp_path):
    pipe = pipe_of("sdxl")
    names = layers(pipe.unet, ATTENTION)[:6]
    save_file(older(pipe.unet, names, prefix="unet.unet."), tmp_path / "content.safetensors")
    concept = Concept.from_file(tmp_path / "content.safetensors")
    assert len(concept.report.matched) == 12 and not concept.report.unused
    found = weights(pipe, concept, "unet", names)
    assert all(torch.allclose(found[name], product(*factors(pipe.unet, name)), atol=1e-5) for name in names)


@pytest.mark.evidence(level="formats", recipe="lora-rar")
def test_the_merging_network_is_named_and_its_pickle_merges(tmp_path):
    pipe = pipe_of("sd")
    network = {f"input_{n}.weight": torch.randn(8, 2 * width) for n, width in ((1, 32), (2, 64))}
    network |= {f"input_{n}.bias": torch.zeros(8) for n in (1, 2)}
    network |= {"output.1.weight": torch.randn(2, 8), "output.1.bias": torch.ones(2)}
    torch.save(network, tmp_path / "hypernet.pth")
    with pytest.raises(PersonaError, match="it merges LoRAs.*--how lora-rar"):
        Concept.from_file(tmp_path / "hypernet.pth")
    from diffusers_persona import merge

    concepts = []
    for n in range(2):
        save_file(older(pipe.unet, layers(pipe.unet, ATTENTION)), tmp_path / f"{n}.safetensors")
        concepts.append(Concept.from_file(tmp_path / f"{n}.safetensors", token=f"<{n}>"))
    merged = merge(concepts, pipe, how="lora-rar", network=str(tmp_path / "hypernet.pth"))
    assert merged.spaces[0].rank == 8


@pytest.mark.evidence(level="formats", recipe="pair-customization")
def test_the_stock_file_of_a_pair_is_the_style_alone(tmp_path):
    pipe = pipe_of("sd")
    names = layers(pipe.unet, ATTENTION)
    save_file(older(pipe.unet, names), tmp_path / "one.safetensors")
    one = Concept.from_file(tmp_path / "one.safetensors", token="sks", noun="style")
    parts = [dataclasses.replace(one.spaces[0], name=n, used=n == "style") for n in ("content", "style")]
    tensors = {f"{i}.{k[2:]}": v * (1 + i) for i in range(2) for k, v in one.tensors.items()}
    spaces = [{"kind": part.kind, **dataclasses.asdict(part)} for part in parts]
    pair = Concept(header=dict(one.header, spaces=spaces), tensors=tensors)
    (path,) = pair.export("diffusers", tmp_path / "out")
    with schemes.only(pair, "style").attach(pipe):
        ours = draw(pipe)
    assert abs(stock_picture(pipe, path) - ours).max() < 1e-4


@pytest.mark.evidence(level="formats", recipe="personalized-residuals")
@pytest.mark.parametrize("recipe", ["b-lora", "unziplora", "personalized-residuals", "block-wise-lora"])
def test_stock_diffusers_reads_several_loras_of_one_concept_as_one(recipe, tmp_path):
    """All LoRAs of a concept, of whatever ranks, draw what stock diffusers draws with the one file that we write."""
    from diffusers_persona import learn
    from diffusers_persona.testing import tiny_pictures

    pipe = pipe_of("sd")
    noun = "cat and style" if recipe == "unziplora" else "dog"
    concept = learn(pipe, tiny_pictures(2), recipe, noun=noun, steps=2, lr=0.05, progress=False)
    concept.save_pretrained(tmp_path / "concept")
    (path,) = (tmp_path / "concept").glob("pytorch_lora_weights.safetensors")
    stock = stock_picture(pipe, path)
    with concept.attach(pipe):
        ours = draw(pipe)
    assert abs(stock - ours).max() < 1e-4 < abs(ours - draw(pipe)).max()
