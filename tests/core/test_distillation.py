"""Losses against a frozen twin or the model's own class (DCO, SuDe, PALP), and the guidance that goes with them."""

import math

import pytest
import torch

from diffusers_persona import losses, schemes, spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional.diffusion import clean_estimate, noise_estimate, posterior
from diffusers_persona.functional.distillation import (
    class_evidence,
    consistency_preference,
    derived_class,
    distillation_pull,
    guided,
)
from diffusers_persona.functional.fusion import reward_guidance, summed_guidance
from diffusers_persona.losses.wording import in_plain_words


@pytest.mark.evidence(level="parity", recipe="dco")
def test_the_preference_is_minus_log_sigmoid_of_the_gain_over_the_twin():
    same = torch.tensor([0.3])
    assert consistency_preference(same, same, 1000.0) == pytest.approx(math.log(2))
    assert consistency_preference(torch.tensor([0.1]), torch.tensor([0.2]), 10.0) == pytest.approx(
        math.log1p(math.exp(-1)), abs=1e-6
    )


@pytest.mark.evidence(level="parity", recipe="dco")
def test_learning_begins_where_the_twin_is(pipe, learned):
    """The word begins as the class word and the LoRA as nothing: the first loss is log 2, whatever the noise."""
    concept = learned(pipe, "dco", steps=1)
    assert concept.header["training"]["loss_curve"][0] == pytest.approx(math.log(2), abs=1e-5)


def test_a_word_may_keep_its_length(pipe, learned):
    tensors = learned(pipe, "dco", text_lr=5e-2).tensors_of(0)
    learned_word, initial = tensors["text_encoder.embedding"], tensors["text_encoder.initial"]
    assert not torch.equal(learned_word, initial)
    assert torch.allclose(learned_word.norm(dim=1), initial.norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("prompt", "plain"),
    [
        ("a photo of a <toy> on the beach", "a photo of a cup on the beach"),
        ("a <toy> cup", "a cup"),
        ("no learned word", "no learned word"),
    ],
)
def test_plain_words_take_the_place_of_learned_ones(prompt, plain):
    assert in_plain_words(prompt, spaces.Subject(token="<toy>", noun="cup")) == plain


def test_plain_words_of_several_things():
    parts = (spaces.Part(token="sks", noun="cat"), spaces.Part(token="ktn", noun="dog"))
    subject = spaces.Subject(token="sks ktn", noun="cat and dog", parts=parts)
    assert in_plain_words("a sks cat and ktn dog, asksed", subject) == "a cat and dog, asksed"


@pytest.mark.evidence(level="parity", recipe="facechain-sude")
def test_the_posterior_is_that_of_the_paper():
    """Ho et al., equations 6 and 7, with alpha-bar 0.8 and then 0.5: beta 0.375."""
    clean, noisy = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), -1.0)
    mean, variance, part = posterior(clean, noisy, torch.tensor([0.5]), torch.tensor([0.8]))
    of_clean, of_noisy = 0.8**0.5 * 0.375 / 0.5, 0.625**0.5 * 0.2 / 0.5
    assert mean.item() == pytest.approx(2 * of_clean - of_noisy)
    assert variance.item() == pytest.approx(0.2 / 0.5 * 0.375)
    assert part.item() == pytest.approx(of_clean)


def test_the_posterior_is_that_of_diffusers(pipe):
    schedule = of(pipe).noise_schedule()
    schedule.set_timesteps(schedule.config.num_train_timesteps)
    noisy, noise, t = torch.randn(1, 4, 4, 4), torch.randn(1, 4, 4, 4), torch.tensor([700])
    alphas = schedule.alphas_cumprod
    mean, variance, _ = posterior(clean_estimate(noise, noisy, alphas[t]), noisy, alphas[t], alphas[t - 1])
    random = torch.Generator().manual_seed(0)
    stepped = schedule.step(noise, 700, noisy, generator=random).prev_sample
    drawn = torch.randn(noise.shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(stepped, mean + variance.sqrt() * drawn, atol=1e-4)


@pytest.mark.evidence(level="parity", recipe="facechain-sude")
def test_class_evidence_compares_the_distances_to_class_and_nothing():
    subject, noun, empty = (torch.full((1, 1, 2, 2), value) for value in (1.0, 3.0, 0.0))
    assert class_evidence(subject, noun, empty, torch.tensor([0.25])).item() == pytest.approx((4 - 1) / 0.5, rel=1e-4)
    assert class_evidence(noun, noun, empty, torch.tensor([0.25])).item() == pytest.approx(-9 / 0.5, rel=1e-4)


@pytest.mark.evidence(level="parity", recipe="facechain-sude")
def test_a_subject_that_is_of_its_class_already_is_left_alone():
    """Truncation: beyond the class prediction, seen from that for no prompt, the term is nil."""
    noun, empty = torch.full((2, 1, 2, 2), 1.0), torch.zeros(2, 1, 2, 2)
    subject = torch.stack([torch.full((1, 2, 2), 0.5), torch.full((1, 2, 2), 1.5)]).requires_grad_()
    term = derived_class(subject, noun, empty, torch.tensor([0.5, 0.5]), torch.tensor([2.0, 2.0]))
    assert term.tolist() == [0.0, 0.0]  # as near to the class as to nothing, and beyond the class
    term.sum().backward()
    assert subject.grad[0].sum() < 0
    assert subject.grad[1].abs().sum() == 0


def test_noise_is_found_again_whatever_the_host_predicts():
    clean, noise, alpha = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.tensor([0.3, 0.9])
    signal, deviation = alpha.sqrt().view(-1, 1, 1, 1), (1 - alpha).sqrt().view(-1, 1, 1, 1)
    noisy = signal * clean + deviation * noise
    for kind, prediction in (
        ("epsilon", noise),
        ("v_prediction", signal * noise - deviation * clean),
        ("sample", clean),
    ):
        assert torch.allclose(noise_estimate(prediction, noisy, alpha, kind), noise, atol=1e-4)


@pytest.mark.evidence(level="parity", recipe="palp")
def test_the_pull_moves_clean_latents_against_the_difference_of_guided_noise():
    clean = torch.zeros(1, 1, 1, 2, requires_grad=True)
    steer, own = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 3.0]]]])
    (distillation_pull(steer, own) * clean).mean().backward()
    assert clean.grad.flatten().tolist() == [0.5, -1.5]


@pytest.mark.evidence(level="parity", recipe="palp")
def test_guidance_of_one_is_the_prediction_and_of_three_is_thrice_the_difference():
    empty, text = torch.tensor([1.0]), torch.tensor([2.0])
    assert guided(empty, text, 1.0).item() == 2.0
    assert guided(empty, text, 3.0).item() == 4.0


@pytest.mark.evidence(level="parity", recipe="palp")
def test_alignment_alone_trains_for_the_target_prompt(pipe, learned):
    concepts = [
        learned(pipe, "palp", target=target, steps=2) for target in ("a {phrase} red", "a {phrase} on the beach")
    ]
    assert concepts[0].digest != concepts[1].digest


def test_a_target_must_have_a_place_for_the_concept():
    with pytest.raises(ValueError, match="phrase"):
        losses.PromptAlignment(target="a cat in Paris")


@pytest.mark.evidence(level="parity", recipe="dco")
def test_reward_guidance_adds_what_the_concept_makes_of_the_prompt():
    empty, reference, personal = (torch.tensor([value]) for value in (1.0, 2.0, 4.0))
    assert reward_guidance(empty, reference, personal, 5.0, 3.0).item() == 1 + 5 * 1 + 3 * 2
    assert summed_guidance(empty, (reference, 5.0), (personal, 2.0)).item() == 1 + 5 * 1 + 2 * 3


@pytest.mark.evidence(level="parity", recipe="dco")
def test_reward_guidance_with_scales_of_one_is_the_personal_model_without_guidance(pipe, learned, draw):
    import numpy as np

    concept = learned(pipe, "dco")
    before = pipe.unet.state_dict()["conv_in.weight"].clone()
    scheme = schemes.RewardGuidance(text=1.0, concept=1.0)
    prompt = f"a photo of {concept.phrase}"
    ours = scheme.draw(pipe, concept, prompt, steps=3, generator=torch.Generator().manual_seed(0), resolution=32)
    with concept.attach(pipe):
        theirs = draw(pipe, prompt, steps=3, guidance_scale=1.0)
    assert np.abs(np.asarray(ours[0], dtype=float) / 255 - theirs[0]).max() < 0.02
    assert torch.equal(pipe.unet.state_dict()["conv_in.weight"], before)
