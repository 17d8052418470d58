"""Custom Diffusion: diffusers' files and the official code's deltas, read and written; stock reads what we write."""

import numpy as np
import pytest
import torch
from factors import draw, pipe_of, weights
from safetensors.torch import save_file

from diffusers_persona import Concept, PersonaError
from diffusers_persona.formats import ldm
from diffusers_persona.testing import tiny_pipeline


def layers(pipe):
    return [name for name, _ in pipe.unet.named_modules() if name.endswith("attn2")]


def new_weights(pipe, parts=("to_k", "to_v")):
    """diffusers' name of each weight -> new value."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for layer in layers(pipe):
        for part in parts:
            stock = pipe.unet.get_submodule(f"{layer}.{part}").weight
            found[f"{layer}.{part}.weight"] = stock.detach() + 0.3 * torch.randn(stock.shape, generator=generator)
    return found


def stock_name(path):
    layer, _, rest = path.partition(".attn2.")
    part, _, name = rest.partition(".")
    return f"{layer}.attn2.processor.{part}_custom_diffusion.{name}"


def original(pipe, path):
    return ldm.from_diffusers(path, pipe.unet.config.layers_per_block, len(pipe.unet.config.down_block_types))


def expect(pipe, concept, values, tolerance=1e-6):
    names = [path.removesuffix(".weight") for path in values]
    found = weights(pipe, concept, "unet", names)
    for name in names:
        stock = pipe.unet.get_submodule(name).weight.detach()
        assert torch.allclose(stock + found[name], values[f"{name}.weight"], atol=tolerance), name


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.evidence(level="formats", recipe="custom-diffusion")
def test_the_file_of_diffusers(family, suffix, tmp_path):
    pipe, path = pipe_of(family), tmp_path / f"pytorch_custom_diffusion_weights{suffix}"
    values = new_weights(pipe)
    content = {stock_name(name): value for name, value in values.items()}
    if suffix == ".bin":
        silent = {f"{layer.removesuffix('2')}1.processor": {} for layer in layers(pipe)}
        torch.save(content | silent, path)
    else:
        save_file(content, path)
    concept = Concept.from_file(path)
    assert not concept.report.unused and [space.kind for space in concept.spaces] == ["key_weights"]
    expect(pipe, concept, values)


@pytest.mark.evidence(level="formats", recipe="custom-diffusion")
def test_a_file_that_stock_diffusers_saved_draws_the_same_picture(tmp_path):
    """With query and output trained, too: the processors of stock diffusers against our folded weights."""
    from diffusers.models.attention_processor import CustomDiffusionAttnProcessor

    theirs, processors = tiny_pipeline("sd"), {}
    torch.manual_seed(0)
    for name in theirs.unet.attn_processors:
        attention = theirs.unet.get_submodule(name.removesuffix(".processor"))
        cross = name.endswith("attn2.processor")
        processors[name] = CustomDiffusionAttnProcessor(
            train_kv=cross,
            train_q_out=cross,
            hidden_size=attention.to_q.weight.shape[0] if cross else None,
            cross_attention_dim=attention.to_k.weight.shape[1] if cross else None,
        )
    theirs.unet.set_attn_processor(processors)
    theirs.unet.save_attn_procs(tmp_path, safe_serialization=False)
    expected, pipe = draw(theirs), pipe_of("sd")
    concept = Concept.from_file(tmp_path)
    assert set(concept.spaces[0].projections) == {"query", "key", "value", "output"}
    with concept.attach(pipe):
        ours = draw(pipe)
    assert np.abs(ours - expected).max() < 1e-4 < np.abs(draw(pipe) - ours).max()


@pytest.mark.evidence(level="formats", recipe="custom-diffusion")
def test_stock_diffusers_reads_what_a_learned_concept_writes(tmp_path):
    """Stock pipelines draw our picture with the exported weights and word. The concept's folder has no pickle."""
    from diffusers_persona import learn
    from diffusers_persona.testing import tiny_pictures

    pipe = pipe_of("sd")
    numbers = dict(steps=2, lr=2e-2, batch_size=1, prior_weight=0.0)
    concept = learn(pipe, tiny_pictures(2), "custom-diffusion", token="<new1>", noun="dog", progress=False, **numbers)
    concept.save_pretrained(tmp_path / "concept")
    assert (tmp_path / "concept" / "pytorch_custom_diffusion_weights.safetensors").is_file()
    assert not list((tmp_path / "concept").rglob("*.bin"))
    concept.export("diffusers", tmp_path)
    with concept.attach(pipe):
        ours = draw(pipe, "a photo of <new1> dog")
    stock = tiny_pipeline("sd")
    stock.unet.load_attn_procs(tmp_path, weight_name="pytorch_custom_diffusion_weights.bin", _pipeline=stock)
    stock.load_textual_inversion(str(tmp_path), weight_name="learned_embeds.safetensors", token="<new1>")
    assert np.abs(draw(stock, "a photo of <new1> dog") - ours).max() < 1e-4


def test_a_folder_with_the_words_beside_the_weights(tmp_path):
    """As the training script of diffusers leaves it: <new1>.bin is a text embedding."""
    pipe, values = pipe_of("sd"), new_weights(pipe_of("sd"))
    torch.save({stock_name(n): v for n, v in values.items()}, tmp_path / "pytorch_custom_diffusion_weights.bin")
    torch.save({"<new1>": torch.randn(32)}, tmp_path / "<new1>.bin")
    concept = Concept.from_file(tmp_path, noun="dog")
    assert concept.token == "<new1>" and {space.kind for space in concept.spaces} == {"word", "key_weights"}
    expect(pipe, concept, values)


DELTAS = {
    "diffusers names": lambda pipe, w, e: {"unet": w, "modifier_token": {"<new1>": e[0], "<new2>": e[1]}},
    "first version": lambda pipe, w, e: {
        "state_dict": {f"model.diffusion_model.{original(pipe, name)}": v for name, v in w.items()} | {"embed": e}
    },
    "original names and tokens": lambda pipe, w, e: {
        "state_dict": {f"model.diffusion_model.{original(pipe, name)}": v for name, v in w.items()},
        "modifier_token": {"<new1>": e[0], "<new2>": e[1]},
    },
    "nothing but the weights": lambda pipe, w, e: {"unet": w},
}


@pytest.mark.parametrize("layout", DELTAS)
@pytest.mark.evidence(level="formats", recipe="custom-diffusion")
def test_deltas_of_the_official_code(layout, tmp_path):
    pipe, values, embeddings = pipe_of("sd"), new_weights(pipe_of("sd")), torch.randn(2, 32)
    torch.save(DELTAS[layout](pipe, values, embeddings), tmp_path / "delta.ckpt")
    concept = Concept.from_file(tmp_path / "delta.ckpt")
    assert not concept.report.unused and not concept.report.missing
    expect(pipe, concept, values)
    words = [space.token for space in concept.spaces if space.kind == "word"]
    if layout != "nothing but the weights":
        assert words == ["<new1>", "<new2>"]
        assert torch.equal(concept.tensors_of(1)["text_encoder.embedding"][0], embeddings[1])
        renamed = Concept.from_file(tmp_path / "delta.ckpt", token=["<cat>", "<dog>"])
        assert [space.token for space in renamed.spaces if space.kind == "word"] == ["<cat>", "<dog>"]
        with pytest.raises(PersonaError, match="2 word"):
            Concept.from_file(tmp_path / "delta.ckpt", token="<cat>")


@pytest.mark.parametrize("names", ["diffusers", "original"])
def test_compressed_deltas_add_u_v_to_the_weights(names, tmp_path):
    pipe, content, values = pipe_of("sd"), {}, {}
    for n, name in enumerate(new_weights(pipe)):
        stock = pipe.unet.get_parameter(name).detach()
        u, v = torch.randn(stock.shape[0], n % 3 + 1), torch.randn(n % 3 + 1, stock.shape[1])
        content[name if names == "diffusers" else f"model.diffusion_model.{original(pipe, name)}"] = {"u": u, "v": v}
        values[name] = stock + u @ v
    tree = {"unet": content, "modifier_token": {"<new1>": torch.randn(32)}}
    torch.save(tree if names == "diffusers" else {"state_dict": content}, tmp_path / "delta.bin")
    concept = Concept.from_file(tmp_path / "delta.bin")
    expect(pipe, concept, values, tolerance=1e-5)


@pytest.mark.parametrize("to", ["original", "ldm"])
def test_deltas_are_written_and_read_back(to, tmp_path):
    pipe, values = pipe_of("sd"), new_weights(pipe_of("sd"))
    torch.save({"unet": values, "modifier_token": {"<new1>": torch.ones(32)}}, tmp_path / "delta.bin")
    source = Concept.from_file(tmp_path / "delta.bin")
    (file,) = source.export(to, tmp_path / "written", pipe=pipe)
    tree = torch.load(file, weights_only=True)
    if to == "original":
        assert set(tree) == {"unet", "modifier_token"} and set(tree["unet"]) == set(values)
    else:
        assert {original(pipe, name) for name in values} == {
            key.removeprefix("model.diffusion_model.") for key in tree["state_dict"] if key != "embed"
        }
    concept = Concept.from_file(file)
    assert concept.token == "<new1>"
    expect(pipe, concept, values)


def test_a_checkpoint_of_a_whole_model_is_no_delta(tmp_path):
    content = {"model.diffusion_model.input_blocks.0.0.weight": torch.ones(2, 2)}
    content["model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"] = torch.ones(2, 2)
    torch.save({"state_dict": content}, tmp_path / "model.ckpt")
    with pytest.raises(PersonaError, match="whole base model"):
        Concept.from_file(tmp_path / "model.ckpt")
