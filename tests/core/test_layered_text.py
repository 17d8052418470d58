"""Text that depends on layer and time: what each block reads, and how it lives beside everything else."""

import copy

import numpy as np
import pytest
import torch

from diffusers_persona import Concept, backbones, learn, spaces
from diffusers_persona.functional.packing import pack, unpack
from diffusers_persona.spaces.late_text import LateText
from diffusers_persona.spaces.text_sites import TextOutputSite, edit_text
from diffusers_persona.testing import tiny_pictures, tiny_pipeline

PROMPT = "a photo of <one> and red dog"


def same(first, second, tolerance=0.0):
    return np.abs(first - second).max() <= tolerance


def concept_of(pipe, space, tensors, token="<one>"):
    """A concept of one space with the given tensors."""
    header = {
        "schema_version": 1,
        "recipe": "custom",
        "token": token,
        "noun": "dog",
        "spaces": [{"kind": space.kind, **spaces_fields(space)}],
        "base_model": backbones.of(pipe).describe(),
    }
    return Concept(header=header, tensors={f"0.{space.kind}.{name}": t for name, t in tensors.items()})


def spaces_fields(space):
    import dataclasses

    return dataclasses.asdict(space)


def layered(pipe, token="<one>", seed=0, vectors=1, same_rows=False):
    """A P+ concept with a random embedding for each layer (or one for all)."""
    host, random = backbones.of(pipe), torch.Generator().manual_seed(seed)
    tensors, count = {}, len(host.text_layers())
    for name, encoder in host.text_encoders.items():
        shape = (1 if same_rows else count, vectors, encoder.get_input_embeddings().embedding_dim)
        tensors[f"{name}.embedding"] = (0.3 * torch.randn(shape, generator=random)).expand(count, -1, -1).clone()
        tensors[f"{name}.initial"] = torch.zeros(shape[1:])
    return concept_of(pipe, spaces.PPlus(init=("noun",) * vectors), tensors, token)


def what_the_layers_read(pipe, draw, prompt=PROMPT, **options):
    """Block -> the text that its cross-attention gets in the last call of the denoiser."""
    read, host = {}, backbones.of(pipe)
    handles = []
    for path in host.attention_layers("cross"):

        def note(module, args, kwargs, path=path):
            read[path.partition(".transformer_blocks")[0]] = kwargs["encoder_hidden_states"]

        handles.append(host.denoiser.get_submodule(path).register_forward_pre_hook(note, with_kwargs=True))
    draw(pipe, prompt, steps=1, **options)
    for handle in handles:
        handle.remove()
    return [read[path] for path in host.text_layers()]


# ---------------------------------------------------------------------------------------------------------- the maths


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_token_ids_travel_exactly_beside_the_state(dtype):
    state, ids = torch.randn(2, 5, 8).to(dtype), torch.tensor([[0, 255, 256, 49407, 65535]] * 2)
    packed = torch.cat([pack(state, ids), pack(state[..., :6], ids + 0)], dim=-1)
    text, found = unpack(packed.to(dtype), [8, 6])
    assert torch.equal(text, torch.cat([state, state[..., :6]], dim=-1)) and all(torch.equal(f, ids) for f in found)
    assert unpack(text, [8, 6])[1] is None


def test_blocks_that_read_the_text_are_counted_as_they_run():
    layers = backbones.of(tiny_pipeline("sd")).text_layers()
    assert [path.split(".")[0] for path in layers] == ["down_blocks", "mid_block", "up_blocks", "up_blocks"]
    assert len(backbones.of(tiny_pipeline("sdxl")).text_layers()) == 4


@pytest.mark.evidence(level="parity", recipe="p-plus")
def test_each_layer_reads_the_prompt_with_its_own_embedding(pipe, draw):
    """P+, section 3: layer l sees the encoding of the prompt with v_l in the placeholder's position."""
    concept = layered(pipe)
    rows = concept.tensors["0.p_plus.text_encoder.embedding"]
    with concept.attach(pipe):
        read = what_the_layers_read(pipe, draw)
    table = pipe.text_encoder.embeddings.token_embedding.weight.detach()
    for layer, row in enumerate(rows):
        twin = copy.deepcopy(pipe.text_encoder)
        twin.embeddings.token_embedding.weight.data[:] = table
        twin.embeddings.token_embedding.weight.data[0] = row
        ids = pipe.tokenizer(PROMPT.replace("<one>", "red"), padding="max_length", return_tensors="pt").input_ids
        ids[0, 4] = 0
        assert torch.allclose(read[layer][1], twin(ids)[0][0], atol=1e-5)
        assert torch.equal(read[layer][0], read[0][0])


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_a_word_that_is_the_same_in_all_layers_is_an_ordinary_word(family, draw):
    pipe = tiny_pipeline(family)
    concept = layered(pipe, same_rows=True, vectors=2)
    plain = {k.split(".", 2)[2]: v[0] if v.ndim == 3 else v for k, v in concept.tensors.items()}
    with concept_of(pipe, spaces.Word(vectors=2), plain).attach(pipe):
        expected = draw(pipe, PROMPT)
    with concept.attach(pipe):
        assert same(draw(pipe, PROMPT), expected, 1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_each_layers_embedding(pipe, checkpointing):
    """Backward through the packed conditions agrees with finite differences, in double precision."""
    host = backbones.of(pipe).private_clone()
    learner = spaces.PPlus().prepare(host, spaces.Subject(token="<one>", noun="dog"))
    embedding = learner.parameters["text_encoder.embedding"]
    host.denoiser.double()
    host.text_encoders["text_encoder"].double()
    if checkpointing:
        host.denoiser.enable_gradient_checkpointing()
        host.denoiser.train()
    torch.manual_seed(0)
    noisy, timesteps = torch.randn(2, 4, 16, 16).double(), torch.tensor([10, 900])

    def loss():
        conditions = host.encode_text(host.tokenize(["a photo of <one>", "a cat"]))
        return host.denoise(noisy, timesteps, conditions).pow(2).sum()

    loss().backward()
    direction = torch.randn_like(embedding)
    for layer in range(len(embedding)):
        sums = []
        for sign in (1, -1):
            with torch.no_grad():
                embedding[layer] += sign * 1e-3 * direction[layer]
                sums.append(float(loss()))
                embedding[layer] -= sign * 1e-3 * direction[layer]
        slope = float((embedding.grad[layer] * direction[layer]).sum())
        assert slope != 0.0 and abs((sums[0] - sums[1]) / 2e-3 - slope) < 1e-3 * abs(slope) + 1e-4


# --------------------------------------------------------------------------------------------- beside everything else


def test_late_words_and_plain_words_compose_in_any_order(pipe, draw):
    plain = concept_of(pipe, spaces.Word(), {"text_encoder.embedding": torch.randn(1, 32)}, "<three>")
    concepts = [layered(pipe), layered(pipe, "<two>", seed=1, vectors=2), plain]
    base, prompt = draw(pipe), "<one> and <two> on <three>"
    pictures = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        holds = [concepts[i].attach(pipe) for i in order]
        pictures.append(draw(pipe, prompt))
        for i in (1, 0, 2):
            holds[i].detach()
    assert same(pictures[0], pictures[1]) and same(pictures[0], pictures[2])
    for i, concept in enumerate(concepts):
        others = [c.attach(pipe) for c in concepts if c is not concept]
        assert not same(draw(pipe, prompt), pictures[0], 1e-4), i
        for hold in others:
            hold.detach()
    assert same(draw(pipe), base)
    for module in (pipe.unet, pipe.text_encoder, pipe.text_encoder.embeddings):
        assert not module._forward_hooks and not module._forward_pre_hooks
    assert not any(m._diffusers_hook.hooks for m in pipe.unet.modules() if hasattr(m, "_diffusers_hook"))


def test_prompts_without_the_word_are_those_of_the_stock_model(pipe, draw):
    base = draw(pipe, "a photo of red dog", negative_prompt="cat")
    with layered(pipe).attach(pipe):
        assert same(draw(pipe, "a photo of red dog", negative_prompt="cat"), base)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_batches_and_negative_prompts(family, draw):
    pipe = tiny_pipeline(family)
    with layered(pipe).attach(pipe):
        alone = [draw(pipe, p, negative_prompt="a cat", generator=[torch.Generator().manual_seed(s)])
                 for s, p in enumerate((PROMPT, "a cat"))]  # fmt: skip
        both = draw(pipe, [PROMPT, "a cat"], negative_prompt=["a cat"] * 2,
                    generator=[torch.Generator().manual_seed(s) for s in (0, 1)])  # fmt: skip
        assert same(both, np.concatenate(alone), 1e-5)
        assert draw(pipe, PROMPT, negative_prompt="<one>", num_images_per_prompt=2).shape[0] == 2


def test_scale_and_window(pipe, draw):
    concept = layered(pipe)
    with concept.attach(pipe, scale=0.0) as hold:
        initial = draw(pipe, PROMPT, steps=4)
        hold.scale = 1.0
        full = draw(pipe, PROMPT, steps=4)
    with concept.attach(pipe, window=(0.5, 1.0)):
        late = draw(pipe, PROMPT, steps=4)
    with concept.attach(pipe, window=(0.9999, 1.0)):
        assert same(draw(pipe, PROMPT, steps=4), initial, 1e-5)
    assert not same(late, full, 1e-4) and not same(late, initial, 1e-4)


def test_offloading_twice_and_back(pipe, draw):
    with layered(pipe).attach(pipe):
        expected = draw(pipe, PROMPT)
        pipe.enable_model_cpu_offload(device="cpu")
        assert same(draw(pipe, PROMPT), expected) and same(draw(pipe, PROMPT), expected)
    with layered(pipe).attach(pipe):
        assert same(draw(pipe, PROMPT), expected) and same(draw(pipe, PROMPT), expected)
        pipe.remove_all_hooks()
        assert same(draw(pipe, PROMPT), expected)


def test_stock_features_switched_on_later(pipe, draw):
    with layered(pipe).attach(pipe):
        expected = draw(pipe, PROMPT)
        pipe.enable_attention_slicing()
        assert same(draw(pipe, PROMPT), expected, 1e-5)
        pipe.disable_attention_slicing()
        pipe.fuse_qkv_projections(vae=False)
        assert same(draw(pipe, PROMPT), expected, 1e-5)
        pipe.unfuse_qkv_projections(vae=False)
        pipe.to(torch.bfloat16)
        assert same(draw(pipe, PROMPT).astype(np.float32), expected, 0.2)


def test_a_control_net_reads_the_plain_text(pipe, draw):
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    torch.manual_seed(0)
    net = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(16, 32))
    controlled = StableDiffusionControlNetPipeline(**pipe.components, controlnet=net)
    controlled.set_progress_bar_config(disable=True)
    picture = tiny_pictures(1)[0]
    base = draw(controlled, image=picture)
    with layered(pipe).attach(controlled):
        assert not same(draw(controlled, PROMPT, image=picture), base, 1e-4)
    assert same(draw(controlled, image=picture), base) and not net._forward_pre_hooks


def test_conditions_made_elsewhere_pass_through_with_a_warning(pipe, draw):
    embeds = [e.detach() for e in pipe.encode_prompt("a cat", "cpu", 1, True)]
    plain = dict(prompt=None, prompt_embeds=embeds[0], negative_prompt_embeds=embeds[1])
    base = draw(pipe, **plain)
    with layered(pipe).attach(pipe):
        with pytest.warns(UserWarning, match="one mean word"):
            assert same(draw(pipe, **plain), base)
        embeds = [e.detach() for e in pipe.encode_prompt(PROMPT, "cpu", 1, True)]
        own = dict(prompt=None, prompt_embeds=embeds[0], negative_prompt_embeds=embeds[1])
        assert same(draw(pipe, **own), draw(pipe, PROMPT))


def test_one_learns_beside_an_attached_concept(pipe):
    alone = learn(pipe, tiny_pictures(2), "p-plus", noun="dog", steps=2, batch_size=2, progress=False)
    with layered(pipe).attach(pipe):
        beside = learn(pipe, tiny_pictures(2), "p-plus", noun="dog", steps=2, batch_size=2, progress=False)
        assert LateText.of(backbones.of(pipe)).users == 1
    assert all(torch.equal(alone.tensors[k], beside.tensors[k]) for k in alone.tensors)


# ------------------------------------------------------------------------------------------- a text encoder's output


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_edits_of_the_output_run_in_the_order_of_their_keys(family):
    host = backbones.of(tiny_pipeline(family))
    ids = host.tokenize(["a cat"])
    base = host.encode_text(ids)
    double, more = (lambda s, i: 2 * s), (lambda s, i: s + (i == i[0, 1])[..., None])
    found = []
    for order in ((0, 1), (1, 0)):
        grips = [spaces.Grip(key=("a",)), spaces.Grip(key=("b",))]
        for n in order:
            for name in host.encoder_names:
                edit_text(host, name, (double, more)[n], grips[n])
        found.append(host.encode_text(ids))
        for grip in grips:
            grip.release()
    states = [f["encoder_hidden_states"] for f in (base, *found)]
    assert torch.equal(states[1], states[2])
    step = torch.zeros_like(states[0])
    step[:, 1] = 1
    assert torch.allclose(states[1], 2 * states[0] + step, atol=1e-6)
    assert all(torch.equal(base[k], host.encode_text(ids)[k]) for k in base)
    assert all(torch.equal(base["text_embeds"], f["text_embeds"]) for f in found if "text_embeds" in base)


def test_edits_of_the_output_reach_late_texts(pipe, draw):
    with layered(pipe).attach(pipe):
        before = what_the_layers_read(pipe, draw)
        grip = spaces.Grip(key=("a",))
        edit_text(backbones.of(pipe), "text_encoder", lambda state, ids: 2 * state, grip)
        after = what_the_layers_read(pipe, draw)
        assert all(torch.allclose(2 * b, a, atol=1e-5) for b, a in zip(before, after))
        grip.release()
        assert all(torch.equal(b, a) for b, a in zip(before, what_the_layers_read(pipe, draw)))


def test_an_edit_of_the_output_survives_offloading_that_came_first(pipe, draw):
    base, grip = draw(pipe), spaces.Grip(key=("a",))
    pipe.enable_model_cpu_offload(device="cpu")
    edit_text(backbones.of(pipe), "text_encoder", lambda state, ids: 0.5 * state, grip)
    edited = draw(pipe)
    assert same(draw(pipe), edited) and not same(edited, base, 1e-4)
    grip.release()
    assert same(draw(pipe), base)
    assert not any(isinstance(h, TextOutputSite) for h in pipe.text_encoder._forward_hooks.values())
