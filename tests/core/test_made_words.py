"""Words that networks make: combinations of a vocabulary (CusConcept), and PromptNet's word for each timestep."""

import pytest
import torch

from diffusers_persona import PersonaError, schemes
from diffusers_persona.backbones import of
from diffusers_persona.encoders.prompt_net import PromptNet
from diffusers_persona.encoders.vocabulary import WordSum
from diffusers_persona.functional.fusion import fusion_step
from diffusers_persona.functional.vocabulary import combination, unexplained
from diffusers_persona.spaces.late_text import Context
from diffusers_persona.spaces.timed_words import TimedWord, timesteps_of

ROWS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.evidence(level="parity", recipe="cusconcept")
def test_a_combination_has_the_given_length_and_takes_the_heaviest_words():
    weights = torch.tensor([0.4, 0.1, 0.3])
    assert torch.allclose(combination(weights, ROWS, 2.0), 2 * weights / weights.norm())
    assert torch.allclose(combination(weights, ROWS, 1.0, take=2), torch.tensor([0.8, 0.0, 0.6]))


@pytest.mark.evidence(level="parity", recipe="cusconcept")
def test_what_the_heaviest_words_leave_unexplained():
    weights = torch.tensor([0.4, 0.0, 0.3])
    whole = combination(weights, ROWS, 5.0)
    assert unexplained(weights, ROWS, whole, take=2) == pytest.approx(0.0, abs=1e-6)
    assert unexplained(weights, ROWS, whole, take=1) == pytest.approx(0.2)


@pytest.mark.evidence(level="parity", recipe="cusconcept")
def test_the_word_is_the_sum_and_then_its_mean_with_a_free_vector():
    net = WordSum(ROWS, 2.0, hidden=4, take=None, explain=0, explain_weight=0.0, anchor=2.0, seed=0)
    net.free.data += 1.0
    assert torch.equal(net.row(0), net.sum())
    assert torch.allclose(net.row(1), net.sum() + 0.5, atol=1e-6)
    assert net.penalty(0) == 0
    assert net.penalty(1).item() == pytest.approx(2 * 3.0, rel=1e-5)


@pytest.mark.evidence(level="parity", recipe="cusconcept")
def test_the_concept_is_two_ordinary_words(pipe, learned):
    concept = learned(pipe, "cusconcept", attributes=("red",), objects=("cat", "dog", "beach"), steps=2)
    assert concept.phrase == "<dog-attribute> <dog>"
    assert [space.kind for space in concept.spaces] == ["word", "word"]
    assert sorted(concept.tensors_of(0)) == ["text_encoder.embedding", "text_encoder.initial"]
    table = pipe.text_encoder.get_input_embeddings().weight.detach()
    red = table[pipe.tokenizer("red")["input_ids"][1]]
    attribute = concept.tensors_of(1)["text_encoder.embedding"][0]
    assert torch.cosine_similarity(attribute, red, dim=0) > 0.5
    assert attribute.norm() == pytest.approx(table.norm(dim=1).mean().item(), rel=0.3)


def test_words_that_no_tokenizer_knows_are_refused_by_name(pipe, learned):
    with pytest.raises(PersonaError, match="xylophone"):
        learned(pipe, "cusconcept", attributes=("xylophone", "quartz"))


# ----------------------------------------------------------------------------------------------------------- PromptNet


@pytest.fixture
def net(pipe):
    first = {"text_encoder": torch.arange(32.0)}
    return PromptNet(pipe.unet, 16, 24, first, seed=0)


@pytest.mark.evidence(level="parity", recipe="profusion")
def test_the_network_is_the_way_down_of_the_denoiser(pipe, net):
    stock = pipe.unet.state_dict()
    copied = {
        k: v for k, v in net.state_dict().items() if k.partition(".")[0] in ("conv_in", "down_blocks", "mid_block")
    }
    assert copied
    assert all(torch.equal(value, stock[key]) for key, value in copied.items())


@pytest.mark.evidence(level="parity", recipe="profusion")
def test_the_word_begins_as_the_class_word_and_then_depends_on_picture_and_time(net):
    latents, times, seen = torch.randn(2, 4, 16, 16), torch.tensor([10.0, 900.0]), torch.randn(2, 24)
    first = net(latents, times, seen)["text_encoder"]
    assert torch.allclose(first, torch.arange(32.0).expand(2, 32))
    torch.nn.init.normal_(net.words["text_encoder"].weight)
    same = net(latents[:1].repeat(2, 1, 1, 1), times, seen[:1].repeat(2, 1))["text_encoder"]
    assert not torch.allclose(same[0], same[1])


@pytest.mark.evidence(level="parity", recipe="profusion")
def test_the_nearest_of_the_kept_timesteps_acts():
    assert timesteps_of(3, 1000).tolist() == [0, 500, 999]
    word = TimedWord(torch.tensor([[1.0], [2.0], [6.0]]), 1000)
    now = Context(timesteps=torch.tensor([20.0, 740.0, 980.0]), layers=torch.zeros(3, dtype=torch.long), count=1)
    assert word.at(now).vectors.flatten().tolist() == [1.0, 2.0, 6.0]
    assert word.at(None).vectors.flatten().tolist() == [3.0]


@pytest.mark.evidence(level="parity", recipe="profusion")
def test_the_fusion_step_keeps_the_noise_level_of_pure_noise():
    """With the true noise as the estimate, x0 = 0: z has variance 1 - alpha before the step and after it."""
    alpha, before = torch.tensor(0.3), torch.tensor(0.5)
    noise, fresh = torch.randn(2, 1, 1, 200, 200, generator=torch.Generator().manual_seed(0))
    noisy = (1 - alpha).sqrt() * noise
    moved = fusion_step(noisy, noise, fresh, alpha, before, eta=1.0)
    sigma = ((1 - before) / (1 - alpha) * (1 - alpha / before)).sqrt()
    down, up = (1 - sigma**2 / (1 - before)), sigma / (1 - before) * (2 - 2 * before - sigma**2).sqrt()
    assert torch.allclose(moved, (1 - alpha).sqrt() * (down * noise + up * fresh), atol=1e-5)
    assert moved.var() == pytest.approx(1 - alpha.item(), rel=0.02)
    assert torch.equal(fusion_step(noisy, noise, fresh, alpha, before, eta=0.0), noisy)


@pytest.mark.evidence(level="parity", recipe="profusion")
def test_fusion_sampling_without_fusion_is_plain_guidance(pipe, learned, draw):
    import numpy as np

    concept = learned(pipe, "profusion", times=4)
    prompt = f"a photo of {concept.phrase}"
    assert of(pipe).resolution == 32
    scheme = schemes.FusionSampling(rounds=0, concept=4.0, text=0.0)
    ours = scheme.draw(pipe, concept, prompt, steps=3, generator=torch.Generator().manual_seed(0))
    with concept.attach(pipe):
        theirs = draw(pipe, prompt, steps=3, guidance_scale=4.0)
    assert np.abs(np.asarray(ours[0], dtype=float) / 255 - theirs[0]).max() < 0.02
    fused = schemes.FusionSampling(rounds=1).draw(pipe, concept, prompt, steps=2, generator=torch.Generator())
    assert fused[0].size == (32, 32)


def test_networks_that_learn_side_by_side_are_each_of_the_stock_denoiser(pipe, pictures):
    from diffusers_persona import learn, learn_many

    options = dict(noun="dog", steps=1, batch_size=1, lr=1e-2, times=2, progress=False)
    both = learn_many(pipe, {"<a>": pictures[:1], "<b>": pictures[1:2]}, "profusion", **options)
    alone = learn(pipe, pictures[1:2], "profusion", token="<b>", **options)
    rows = [concept.tensors_of(0)["text_encoder.rows"] for concept in (both[1], alone)]
    assert torch.allclose(*rows, atol=1e-5)
