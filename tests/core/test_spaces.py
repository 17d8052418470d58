"""The equations of the inversion spaces, on values computed by hand or by the plain formula."""

import pytest
import torch
import torch.nn.functional as F

from diffusers_persona import PersonaError, spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional.low_rank import delta, product
from diffusers_persona.spaces.sites import Edit, WeightSite


@pytest.mark.evidence(level="parity", recipe="lora")
def test_low_rank_delta_is_alpha_over_r_times_b_a():
    a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0], [-1.0]])
    assert torch.equal(delta(torch.zeros(2, 3), a, b, 0.5), 0.5 * torch.tensor([[1.0, 2, 3], [-1, -2, -3]]))
    assert spaces.LowRank(rank=4, alpha=8).scaling == 2.0
    assert spaces.LowRank(rank=4, alpha=8, rank_stabilised=True).scaling == 4.0


@pytest.mark.evidence(level="parity", recipe="lora")
def test_a_convolutional_product_equals_two_convolutions_in_turn():
    x, a, b = torch.randn(1, 3, 8, 8), torch.randn(2, 3, 3, 3), torch.randn(5, 2, 1, 1)
    assert torch.allclose(F.conv2d(x, product(a, b), padding=1), F.conv2d(F.conv2d(x, a, padding=1), b), atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"rank_stabilised": True}, {"dora": True}, {"alpha": 1.0}], ids=str)
@pytest.mark.evidence(level="parity", recipe="lora")
def test_folded_low_rank_weights_equal_peft(options):
    """W' of ours is what PEFT's own layer computes, for every knob."""
    from peft import inject_adapter_in_model

    torch.manual_seed(0)
    space = spaces.LowRank(rank=2, targets=("0",), **options)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5))
    stock = model[0].weight.detach().clone()
    inject_adapter_in_model(space.peft_config(space.targets), model, "x")
    layer = model[0]
    torch.nn.init.normal_(layer.lora_B["x"].weight)
    magnitude = None
    if space.dora:
        torch.nn.init.uniform_(layer.lora_magnitude_vector["x"].weight)
        magnitude = layer.lora_magnitude_vector["x"].weight
    x = torch.randn(3, 6)
    change = delta(stock, layer.lora_A["x"].weight, layer.lora_B["x"].weight, space.scaling, magnitude)
    assert torch.allclose(layer(x), F.linear(x, stock + change, layer.base_layer.bias), atol=1e-5)


@pytest.mark.evidence(level="parity", recipe="textual-inversion")
def test_a_word_takes_the_place_of_its_token_embedding(pipe):
    """Gal et al., equation 2: the encoder sees v* where the token stands, and the stock embeddings elsewhere."""
    host, encoder = of(pipe), pipe.text_encoder
    vectors = torch.randn(2, 32)
    space = spaces.Word(vectors=2, token="<new>")
    grip = spaces.Grip(key=())
    space.attach(host, {"text_encoder.embedding": vectors}, grip)
    seen = {}
    handle = encoder.encoder.register_forward_pre_hook(lambda m, a, k: seen.update(k), with_kwargs=True)
    ids = host.tokenize(["a <new> cat"])["text_encoder"]
    encoder(ids)
    handle.remove()
    grip.release()
    words = pipe.tokenizer("a cat", return_tensors="pt").input_ids[0]
    table, positions = encoder.get_input_embeddings().weight, encoder.embeddings.position_embedding.weight
    expected = torch.stack(
        [table[words[0]], table[words[1]], vectors[0], vectors[1], table[words[2]], table[words[3]]]
    )
    assert torch.allclose(seen["inputs_embeds"][0, :6], expected + positions[:6], atol=1e-6)


@pytest.mark.evidence(level="parity", recipe="textual-inversion")
def test_learning_a_word_moves_its_vector_and_nothing_else(pipe, learned):
    stock = {k: v.clone() for k, v in pipe.text_encoder.state_dict().items()}
    concept = learned(pipe, "textual-inversion", noun="dog")
    initial, vector = concept.tensors_of(0)["text_encoder.initial"], concept.tensors_of(0)["text_encoder.embedding"]
    noun = pipe.tokenizer("dog", add_special_tokens=False)["input_ids"]
    assert torch.equal(initial[0], stock["embeddings.token_embedding.weight"][noun[0]])
    assert not torch.equal(vector, initial)
    assert all(torch.equal(v, stock[k]) for k, v in pipe.text_encoder.state_dict().items())


@pytest.mark.evidence(level="parity", recipe="custom-diffusion")
def test_key_weights_are_keys_and_values_of_cross_attention(pipe):
    names = spaces.KeyWeights().names(of(pipe))
    assert len(names) == 2 * len([n for n in pipe.unet.attn_processors if n.endswith("attn2.processor")])
    assert all(n.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) for n in names)


@pytest.mark.evidence(level="parity", recipe="custom-diffusion")
def test_the_start_token_gets_no_gradient_through_keys_and_values(pipe):
    host = of(pipe).private_clone()
    spaces.KeyWeights(detach_start=True).prepare(host, spaces.Subject(token="<a>", noun="dog"))
    text = torch.randn(1, 5, 32, requires_grad=True)
    layer = host.denoiser.get_submodule(host.attention_layers("cross")[0])
    layer.to_k(text).sum().backward()
    assert text.grad[:, 0].abs().max() == 0 and text.grad[:, 1:].abs().min() > 0


@pytest.mark.evidence(level="parity", recipe="dreambooth")
def test_all_weights_of_the_denoiser_are_learned_and_reached(pipe, learned, draw):
    """Attached at full strength, the host computes with the learned weights."""
    concept = learned(pipe, "dreambooth")
    names = {name.partition(".")[2] for name in concept.tensors_of(0)}
    assert names == {name for name, _ in pipe.unet.named_parameters()}
    with concept.attach(pipe):
        attached = draw(pipe, "a photo of sks dog")
    pipe.unet.load_state_dict({k.partition(".")[2]: v for k, v in concept.tensors_of(0).items()})
    assert abs(draw(pipe, "a photo of sks dog") - attached).max() < 1e-5


def test_edits_of_one_weight_add_up_in_any_order():
    layer = torch.nn.Linear(3, 2)
    stock = layer.weight.detach().clone()
    changes = {("b",): torch.randn(2, 3), ("a",): torch.randn(2, 3)}
    results = []
    for order in (("a",), ("b",)), (("b",), ("a",)):
        site = WeightSite.of(layer)
        for key in order:
            site.add("weight", key, Edit(lambda: 0.5, lambda s, c=changes[key]: c))
        results.append(layer.weight.detach().clone())
        for key in order:
            site.remove("weight", key)
        assert torch.equal(layer.weight, stock) and "_persona" not in layer._modules
    assert torch.equal(*results)
    assert torch.allclose(results[0], stock + 0.5 * sum(changes.values()))


def test_a_word_of_several_tokens_starts_from_their_mean(pipe):
    space, host = spaces.Word(), of(pipe).private_clone()
    learner = space.prepare(host, spaces.Subject(token="<new>", noun="red dog"))
    table = pipe.text_encoder.get_input_embeddings().weight
    ids = pipe.tokenizer("red dog", add_special_tokens=False)["input_ids"]
    assert torch.allclose(learner.constants["text_encoder.initial"][0], table[ids].mean(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spaces.Word(vectors=0), "at least one vector"),
        (lambda: spaces.Word(init="zero"), "choose 'noun'"),
        (lambda: spaces.LowRank(rank=0), "rank is at least 1"),
        (lambda: spaces.KeyWeights(projections=("keys",)), "projections are of query"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(PersonaError, match=message):
        make()
