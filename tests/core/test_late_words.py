"""NeTI, ProSpect and ED-LoRA: what their words are at each timestep and layer."""

import copy
import types

import numpy as np
import pytest
import torch

from diffusers_persona import PersonaError, backbones, inversion, learn, learn_many, losses, merge, schemes, spaces
from diffusers_persona.functional import space_time, stages
from diffusers_persona.recipe import Recipe, get
from diffusers_persona.spaces.late_text import Context
from diffusers_persona.spaces.late_words import Draws, LayerWord, MappedWord, StageWord
from diffusers_persona.testing import tiny_pictures, tiny_pipeline
from diffusers_persona.training import optimisers


def context(timesteps, layers=None, count=4):
    layers = torch.zeros(len(timesteps)) if layers is None else torch.tensor(layers)
    return Context(timesteps=torch.tensor(timesteps, dtype=torch.float32), layers=layers.long(), count=count)


def reads(pipe, timestep, prompt):
    """What the key and value projections of each block get at one timestep, for one prompt: two lists [L, d]."""
    host, found = backbones.of(pipe), {}
    handles = []
    for path in host.text_layers():
        for name in ("to_k", "to_v"):
            module = host.denoiser.get_submodule(f"{path}.transformer_blocks.0.attn2.{name}")

            def note(module, inputs, output, key=(path, name)):
                found[key] = output[0]

            handles.append(module.register_forward_hook(note))
    with torch.no_grad():
        conditions = host.encode_text(host.tokenize([prompt]))
        host.denoise(torch.zeros(1, 4, 16, 16), torch.tensor([timestep]), conditions)
    for handle in handles:
        handle.remove()
    return [[found[path, name] for path in host.text_layers()] for name in ("to_k", "to_v")]


def encoded(pipe, prompt, vector, bypass=None):
    """The text state of `prompt` with `vector` in the place of "<dog>", and with a bypass there."""
    encoder = copy.deepcopy(pipe.text_encoder)
    ids = pipe.tokenizer(prompt.replace("<dog>", "red"), padding="max_length", return_tensors="pt").input_ids
    here = ids == pipe.tokenizer("red", add_special_tokens=False)["input_ids"][0]
    ids[here] = 0
    with torch.no_grad():
        encoder.embeddings.token_embedding.weight[0] = vector
        output = encoder(ids, output_hidden_states=True)
        raw = output.hidden_states[-1]
        if bypass is not None:
            raw = torch.where(here[..., None], raw + raw.norm(dim=-1, keepdim=True) * bypass, raw)
        return encoder.final_layer_norm(raw)[0]


# ---------------------------------------------------------------------------------------------------------------- NeTI


@pytest.mark.evidence(level="parity", recipe="neti")
def test_the_positional_encoding_is_that_of_hand_computed_points():
    w = torch.tensor([[0.5, 0.0], [0.0, 2.0]])
    found = space_time.positions_encoded(w, torch.tensor([3]), torch.tensor([1]))
    expected = torch.tensor([1.5, 2.0])
    assert torch.allclose(found[0] * 2**0.5, torch.cat([expected.sin(), expected.cos()]))
    grid = space_time.anchors(w, 2, 3)
    assert grid.shape == (6, 4)
    assert torch.allclose(grid[4], space_time.positions_encoded(w, torch.tensor([500]), torch.tensor([1]))[0])


@pytest.mark.evidence(level="parity", recipe="neti")
def test_keys_and_values_of_each_layer_read_their_own_encodings(pipe, learned):
    """Section 4.3: the keys see M(t, l) in the prompt, the values the same with the bypass added."""
    concept = learned(pipe, "neti", lr=0.1)
    own = {key.removeprefix("0.space_time.text_encoder."): t for key, t in concept.tensors.items()}
    prompt = "a photo of <dog> on the beach"
    with concept.attach(pipe):
        keys, values = reads(pipe, 700, prompt)
    word = MappedWord(own, own["frequencies"], own["norm"], 4, bypass=0.2)
    rows = word.at(context([700] * 4, range(4)))
    assert torch.allclose(rows.bypass.norm(dim=-1), torch.full((4, 1), 0.2))
    for layer, path in enumerate(backbones.of(pipe).text_layers()):
        attention = pipe.unet.get_submodule(f"{path}.transformer_blocks.0.attn2")
        vector, bypass = rows.vectors[layer, 0], rows.bypass[layer, 0]
        assert torch.allclose(keys[layer], attention.to_k(encoded(pipe, prompt, vector)), atol=1e-4)
        assert torch.allclose(values[layer], attention.to_v(encoded(pipe, prompt, vector, bypass)), atol=1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_keys_and_values_stay_apart_with_fused_projections_and_adapters(pipe, learned, draw, fused):
    from peft import LoraConfig

    concept = learned(pipe, "neti", lr=0.1)
    if not fused:
        pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_v"], init_lora_weights=True), "stock")
    with concept.attach(pipe):
        expected = draw(pipe, "a <dog>")
        if fused:
            pipe.fuse_qkv_projections(vae=False)
        else:
            pipe.unload_lora_weights()
        assert np.abs(draw(pipe, "a <dog>") - expected).max() < 1e-5


def test_nested_dropout_keeps_the_first_units_alone(pipe):
    host = backbones.of(pipe).private_clone()
    space = spaces.SpaceTime(frequencies=8, hidden=6, nested_dropout=0.9)
    learner = space.prepare(host, spaces.Subject(token="<a>", noun="dog"))
    own = {key.removeprefix("text_encoder."): t for key, t in {**learner.parameters, **learner.constants}.items()}

    def make(**options):
        return MappedWord(own, own["frequencies"], own["norm"], 4, **options).at(context([5], [1])).vectors

    whole, cut = make(), make(keep=2)
    with torch.no_grad():
        own["output_layer.0.weight"][:, 2:] = 0
    assert not torch.allclose(whole, cut) and torch.allclose(make(), cut)
    draws = Draws(0)
    draws.follow(types.SimpleNamespace(latents=torch.ones(1)), torch.tensor([5]))
    drawn = torch.cat([make(dropout=0.9, draws=draws) for _ in range(40)])
    assert len(drawn.detach().unique(dim=0)) > 2 and torch.equal(make(), make())


@pytest.mark.parametrize("recipe", ["p-plus", "neti", "prospect"])
def test_a_word_does_not_depend_on_its_company_in_a_run(pipe, recipe):
    """What chance decides in learning comes from the concept's own batches."""
    pictures = {name: tiny_pictures(2, seed=seed) for seed, name in enumerate(("one", "two"))}
    options = dict(noun="dog", steps=3, batch_size=2, progress=False)
    together = learn_many(pipe, pictures, recipe, **options)[1]
    alone = learn(pipe, pictures["two"], recipe, token=together.token, **options)
    assert all(torch.allclose(alone.tensors[k], together.tensors[k], atol=1e-5) for k in alone.tensors)


# ------------------------------------------------------------------------------------------------------------ ProSpect


@pytest.mark.evidence(level="parity", recipe="prospect")
def test_ten_stages_of_a_hundred_timesteps():
    assert [stages.stage(t, 10) for t in (0, 99, 100, 899.5, 900, 999, 1000)] == [0, 0, 1, 8, 9, 9, 9]


@pytest.mark.evidence(level="parity", recipe="prospect")
def test_each_step_reads_the_word_of_its_stage(pipe, learned):
    concept = learned(pipe, "prospect", lr=0.05)
    own = {key.removeprefix("0.stages.text_encoder."): t for key, t in concept.tensors.items()}
    rows = stages.stage_embeddings(own, own["initial"][0])
    with concept.attach(pipe):
        for timestep, stage in ((950, 9), (120, 1)):
            keys, values = reads(pipe, timestep, "a photo of <dog>")
            for layer, path in enumerate(backbones.of(pipe).text_layers()):
                attention = pipe.unet.get_submodule(f"{path}.transformer_blocks.0.attn2")
                expected = encoded(pipe, "a photo of <dog>", rows[stage])
                assert torch.allclose(keys[layer], attention.to_k(expected), atol=1e-4)
                assert torch.allclose(values[layer], attention.to_v(expected), atol=1e-4)


def test_chosen_stages_alone_act(pipe):
    host = backbones.of(pipe).private_clone()
    learner = spaces.Stages(heads=2, head_width=8).prepare(host, spaces.Subject(token="<a>", noun="dog"))
    own = {key.removeprefix("text_encoder."): t for key, t in {**learner.parameters, **learner.constants}.items()}
    word = StageWord(own, own["initial"][0], 10, use=[0, 1, 2, *[None] * 7])
    rows = word.at(context([50, 250, 350, 999])).vectors[:, 0]
    learned = stages.stage_embeddings(own, own["initial"][0])
    assert torch.equal(rows[0], learned[0]) and torch.equal(rows[1], learned[2])
    assert torch.equal(rows[2], own["initial"][0]) and torch.equal(rows[3], own["initial"][0])


# ------------------------------------------------------------------------------------------------------------- ED-LoRA


@pytest.mark.evidence(level="parity", recipe="mix-of-show")
def test_a_word_of_a_random_and_a_class_vector_in_every_layer(pipe):
    host = backbones.of(pipe).private_clone()
    space = spaces.PPlus(init=("random", "noun"), deviation=0.013)
    learner = space.prepare(host, spaces.Subject(token="<toy>", noun="dog"))
    rows = learner.parameters["text_encoder.embedding"].detach()
    dog = pipe.text_encoder.embeddings.token_embedding.weight[pipe.tokenizer("dog").input_ids[1]]
    assert rows.shape == (4, 2, 32) and torch.equal(rows, rows[:1].expand_as(rows))
    assert torch.equal(rows[0, 1], dog) and 0.008 < rows[0, 0].std() < 0.018
    assert len(host.tokenizers["text_encoder"]("a <toy>", add_special_tokens=False).input_ids) == 3


@pytest.mark.evidence(level="parity", recipe="mix-of-show")
def test_the_words_stop_at_their_largest_norm(pipe):
    host = backbones.of(pipe).private_clone()
    learner = spaces.PPlus(most_norm=1.0).prepare(host, spaces.Subject(token="<toy>", noun="dog"))
    embedding = learner.parameters["text_encoder.embedding"]
    for scale, moves in ((0.5, True), (2.0, True), (3.0, False)):  # the step that crosses the norm still counts
        learner.follow(None, None)
        before = embedding.detach().clone()
        embedding.data.copy_(scale * torch.nn.functional.normalize(torch.ones_like(embedding), dim=-1))
        learner.constrain()
        assert torch.equal(embedding, before) != moves


def test_the_networks_learn_at_rates_of_their_own(pipe):
    declared = get("mix-of-show").build(lr=3e-3, text_lr=2e-5, denoiser_lr=1e-4)
    host, learners = backbones.of(pipe).private_clone(), {}
    for i, space in enumerate(declared.space):
        learner = space.prepare(host, spaces.Subject(token="<toy>", noun="dog"))
        learner.name = getattr(space, "name", "")
        learners[i, space.kind] = learner
    groups = optimisers.make(declared.method, learners).param_groups
    assert [group["base_lr"] for group in groups] == [3e-3, 2e-5, 1e-4]
    assert all(name.startswith("text_encoder.") for name in learners[1, "low_rank"].parameters)


@pytest.mark.evidence(level="parity", recipe="mix-of-show")
def test_the_noise_offset_shifts_whole_channels(pipe, pictures):
    """The noise of two runs differs by one number a channel."""
    seen = {}

    class Spy(losses.Denoising):
        def __call__(self, step):
            seen[offset] = step.noise
            return super().__call__(step)

    for offset in (0.0, 0.5):
        method = inversion.Optimization(steps=1, lr=1e-3, losses=[Spy()], batch_size=2, noise_offset=offset)
        data = inversion.Data(prompts=inversion.prompts.Fixed("a {phrase}"))
        recipe = Recipe(space=[spaces.Word()], method=method, scheme=schemes.Prompting(), data=data)
        learn(pipe, pictures, recipe, noun="dog", progress=False)
    shift = seen[0.5] - seen[0.0]
    assert torch.allclose(shift, shift[:, :, :1, :1].expand_as(shift), atol=1e-5) and 0.1 < shift.std() < 1.5


# ------------------------------------------------------------------------------------------------------------------ P+


@pytest.mark.evidence(level="parity", recipe="p-plus")
def test_style_mixing_takes_inner_layers_of_one_word_and_outer_ones_of_another(pipe, learned):
    shape, appearance = (learned(pipe, "p-plus", token=t, seed=s) for s, t in enumerate(("<one>", "<two>")))
    mixed = merge([shape, appearance], pipe)
    name = "0.p_plus.text_encoder.embedding"
    own, other, found = (c.tensors[name] for c in (shape, appearance, mixed))
    assert torch.equal(found[1:3], own[1:3]) and torch.equal(found[[0, 3]], other[[0, 3]]) and mixed.token == "<one>"
    with pytest.raises(PersonaError, match="cannot be mixed"):
        merge([shape, appearance], pipe, how="layer_mix")
    with pytest.raises(PersonaError, match="takes two concepts in p_plus space"):
        merge([shape, learned(pipe, "neti")], pipe, how="layer_mix")


# -------------------------------------------------------------------------------------------------------------- errors


def test_layer_words_give_the_mean_where_a_text_is_read_once():
    table = torch.randn(4, 2, 3)
    assert torch.equal(LayerWord(table).at(None).vectors, table.mean(0))
    assert torch.equal(LayerWord(table).at(context([1, 1], [3, 0])).vectors, table[[3, 0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spaces.PPlus(init=("zero",)), "one of 'noun', 'rare' and 'random'"),
        (lambda: spaces.SpaceTime(keep=0), "between 1 and the 128 hidden units"),
        (lambda: spaces.SpaceTime(nested_dropout=1.0), "a probability below 1"),
        (lambda: spaces.Stages(use=(10,)), "numbered from 0 to 9"),
        (lambda: spaces.Stages(stages=0), "at least one"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(PersonaError, match=message):
        make()


@pytest.mark.parametrize("recipe", ["p-plus", "neti", "prospect"])
def test_a_concept_of_another_width_names_the_key(pipe, learned, recipe):
    concept = learned(pipe, recipe)
    key = {"p-plus": "embedding", "neti": "output_layer.0.weight", "prospect": "norm1.weight"}[recipe]
    name = next(name for name in concept.tensors if name.endswith(key))
    concept.tensors[name] = torch.zeros(7, 1, 7) if recipe == "p-plus" else torch.zeros(7, 7)
    with pytest.raises(PersonaError, match="attach (it|the concept) to the kind of model"):
        concept.attach(tiny_pipeline("sd"))
