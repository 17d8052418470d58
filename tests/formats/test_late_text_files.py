"""Files of words that depend on layer or time, in the layouts of the official releases."""

import sys
import types

import pytest
import torch

from diffusers_persona import Concept, PersonaError
from diffusers_persona.formats.contents import read
from diffusers_persona.functional import space_time, stages
from diffusers_persona.testing import tiny_pipeline

WIDTH, LAYERS = 32, 4


@pytest.fixture
def release(monkeypatch):
    """release("models.positional_encoding.NeTIPositionalEncoding") -> a torch module class of that name."""

    def make(path, base=torch.nn.Module):
        name, _, attribute = path.rpartition(".")
        parts = name.split(".")
        for parent in (".".join(parts[: n + 1]) for n in range(len(parts))):
            monkeypatch.setitem(sys.modules, parent, sys.modules.get(parent) or types.ModuleType(parent))
        module = sys.modules[name]
        made = type(attribute, (base,), {"__module__": name})
        monkeypatch.setattr(module, attribute, made, raising=False)
        return made

    return make


def drawn(concept, pipe, prompt):
    options = dict(num_inference_steps=2, height=32, width=32, output_type="np")
    with concept.attach(pipe):
        return pipe(prompt, generator=torch.Generator().manual_seed(0), **options).images


# ------------------------------------------------------------------------------------------------------------------ P+


@pytest.mark.evidence(level="formats", recipe="p-plus")
@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_a_p_plus_file_has_one_key_a_layer(tmp_path, suffix):
    path = tmp_path / "learned_embeds.bin"
    rows = torch.randn(LAYERS, WIDTH)
    torch.save({f"<toy>-{n}": row.clone() for n, row in enumerate(rows)}, path)
    concept = Concept.from_file(path)
    assert concept.token == "<toy>" and not concept.report.unused
    assert torch.equal(concept.tensors["0.p_plus.text_encoder.embedding"][:, 0], rows)
    (written,) = concept.export("original", tmp_path / f"again{suffix}")
    assert torch.equal(read(written).tensors["<toy>-3"], rows[3]) and len(read(written).infos) == LAYERS
    pipe = tiny_pipeline("sd")
    assert (drawn(concept, pipe, "a <toy>") == drawn(Concept.from_file(written), pipe, "a <toy>")).all()


def test_a_file_with_too_few_layers_names_the_host(tmp_path):
    path = tmp_path / "learned_embeds.bin"
    torch.save({f"<toy>-{n}": torch.randn(WIDTH) for n in range(5)}, path)
    with pytest.raises(PersonaError, match=r"shape \(5, 1, 32\), the host needs \[4, n, 32\]"):
        Concept.from_file(path).attach(tiny_pipeline("sd"))


# ---------------------------------------------------------------------------------------------------------------- NeTI


def mapper_state(rows=8, hidden=16, frequencies=12):
    shapes = {"input_layer": (rows, 2 * frequencies), "net.1": (hidden, rows), "net.2": (hidden,)}
    shapes |= {"net.4": (hidden, hidden), "net.5": (hidden,), "output_layer.0": (2 * WIDTH, hidden)}
    state = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    state |= {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
    return state | {"net.0.weight": state["input_layer.weight"], "net.0.bias": state["input_layer.bias"]}


@pytest.mark.evidence(level="formats", recipe="neti")
def test_a_neti_mapper_is_read_with_its_pickled_encoding(tmp_path, release):
    encoder = release("models.positional_encoding.NeTIPositionalEncoding")()
    encoder.w, encoder.num_w = torch.randn(12, 2), 12
    state = mapper_state()
    model = {"target_norm": 0.4, "output_bypass": True, "num_pe_time_anchors": 2}
    config = {"model": model, "data": {"placeholder_token": "<toy>"}}
    path = tmp_path / "mapper-steps-500.pt"
    torch.save({"state_dict": state, "cfg": config, "encoder": encoder}, path)
    concept = Concept.from_file(path)
    own = {key.removeprefix("0.space_time.text_encoder."): t for key, t in concept.tensors.items()}
    assert concept.token == "<toy>" and concept.spaces[0].hidden == 16 and not concept.report.unused
    assert torch.equal(own["frequencies"], encoder.w) and float(own["norm"]) == pytest.approx(0.4)
    assert all(torch.equal(own[f"{n}.weight"], state[f"{n}.weight"]) for n in space_time.TRAINED)
    assert drawn(concept, tiny_pipeline("sd"), "a <toy>").std() > 0


@pytest.mark.evidence(level="formats", recipe="neti")
def test_a_mapper_without_the_class_words_length_is_not_whole(tmp_path, release):
    encoder = release("models.positional_encoding.NeTIPositionalEncoding")()
    encoder.w = torch.randn(12, 2)
    torch.save({"state_dict": mapper_state(), "cfg": {}, "encoder": encoder}, tmp_path / "mapper.pt")
    with pytest.raises(PersonaError, match="target_norm"):
        Concept.from_file(tmp_path / "mapper.pt")


# ------------------------------------------------------------------------------------------------------------ ProSpect


@pytest.mark.evidence(level="formats", recipe="prospect")
def test_a_prospect_file_is_read_with_its_pickled_block(tmp_path, release):
    """The official block, built here of torch's layers under the official names, gives the same ten embeddings."""
    from torch import nn

    attention = release("ldm.modules.attention.CrossAttention")
    feed, gate = release("ldm.modules.attention.FeedForward"), release("ldm.modules.attention.GEGLU")
    block = release("ldm.modules.embedding_manager.TransformerBlock")()
    for name in ("attn1", "attn2"):
        part = attention()
        for projection in ("to_q", "to_k", "to_v"):
            setattr(part, projection, nn.Linear(WIDTH, 24, bias=False))
        part.to_out, part.heads = nn.Sequential(nn.Linear(24, WIDTH), nn.Dropout(0.1)), 2
        setattr(block, name, part)
    block.ff, gated = feed(), gate()
    gated.proj = nn.Linear(WIDTH, 8 * WIDTH)
    block.ff.net = nn.Sequential(gated, nn.Dropout(0.1), nn.Linear(4 * WIDTH, 10 * WIDTH))
    for n in (1, 2, 3):
        setattr(block, f"norm{n}", nn.LayerNorm(WIDTH))
    path = tmp_path / "embeddings.pt"
    torch.save({"attention": block, "initial_embeddings": nn.Parameter(torch.randn(1, WIDTH))}, path)
    concept = Concept.from_file(path, token="<toy>")
    own = {key.removeprefix("0.stages.text_encoder."): t for key, t in concept.tensors.items()}
    assert concept.spaces[0].stages == 10 and not concept.report.unused and set(own) == {"initial", *stages.SHAPES}

    e = own["initial"]
    with torch.no_grad():
        x = block.norm1(e)
        x = e + block.attn1.to_out[0](block.attn1.to_v(x))
        x = x + block.attn2.to_out[0](block.attn2.to_v(e))
        value, opening = gated.proj(block.norm3(x)).chunk(2, dim=-1)
        expected = block.ff.net[2](value * nn.functional.gelu(opening)).view(10, WIDTH)
        assert torch.allclose(stages.stage_embeddings(own, e[0]), expected, atol=1e-5)
    assert drawn(concept, tiny_pipeline("sd"), "a <toy>").std() > 0


def test_other_classes_are_refused_by_name(tmp_path, release):
    torch.save({"attention": release("ldm.modules.other.Thing")()}, tmp_path / "a.pt")
    with pytest.raises(PersonaError, match="ldm.modules.other.Thing.*nothing was executed"):
        read(tmp_path / "a.pt")


# ------------------------------------------------------------------------------------------------------------ ED-LoRA


@pytest.mark.evidence(level="formats", recipe="mix-of-show")
def test_an_ed_lora_file_comes_back_as_it_was(tmp_path):
    pipe = tiny_pipeline("sd")
    words = {f"<toy{n}>": torch.randn(LAYERS, WIDTH) for n in (1, 2)}
    text = {"text_model.encoder.layers.0.self_attn.q_proj": (WIDTH, WIDTH)}
    unet = {"mid_block.attentions.0.transformer_blocks.0.attn2.to_k": (64, WIDTH)}

    def factors(layers):
        parts = {f"{name}.lora_down.weight": torch.randn(4, i) for name, (_, i) in layers.items()}
        return parts | {f"{name}.lora_up.weight": torch.randn(o, 4) for name, (o, _) in layers.items()}

    params = {"new_concept_embedding": words, "text_encoder": factors(text), "unet": factors(unet)}
    path = tmp_path / "edlora_model-latest.pth"
    torch.save({"params": params}, path)
    concept = Concept.from_file(path, token="<toy>")
    assert [space.kind for space in concept.spaces] == ["p_plus", "low_rank"] and not concept.report.unused
    (written,) = concept.export("original", tmp_path / "again.pth")
    first, second = read(path).tensors, read(written).tensors
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)

    (name,), stock = unet, pipe.unet.state_dict()
    with concept.attach(pipe):
        delta = dict(pipe.unet.named_parameters())[f"{name}.weight"] - stock[f"{name}.weight"]
        up, down = params["unet"][f"{name}.lora_up.weight"], params["unet"][f"{name}.lora_down.weight"]
        assert torch.allclose(delta, up @ down, atol=1e-4)
    assert drawn(concept, pipe, "a <toy>").std() > 0
