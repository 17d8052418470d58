"""Losses on attention maps and on the words around the concept, on steps of a tiny real model."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from diffusers_persona import PersonaError, losses, spaces
from diffusers_persona.attention.store import AttentionStore, AttentionView
from diffusers_persona.backbones import of
from diffusers_persona.functional import attention_maps as formulas
from diffusers_persona.training.examples import TextConditions

PARTS = (spaces.Part(token="<cat>", noun="cat"), spaces.Part(token="<dog>", noun="dog"))


@pytest.fixture
def step(pipe):
    """step(prompts, attention=False, parts=PARTS, **fields) -> a step of a host that learns the words of `parts`."""

    def step(prompts, attention=False, parts=PARTS, **fields):
        host = of(pipe).private_clone()
        torch.manual_seed(0)
        subject = spaces.Subject(
            token=" ".join(p.token for p in parts), noun=" and ".join(p.noun for p in parts), parts=parts
        )
        words = [spaces.Word(part=i).prepare(host, subject) for i in range(len(parts))]
        text = TextConditions(host, lambda prompt: "<" in prompt)
        world = losses.World(
            host=host,
            stock=None,
            subject=subject,
            learners={"word": words},
            text=text,
            stock_text=None,
            schedule=host.noise_schedule(),
            autocast=torch.no_grad if not attention else torch.enable_grad,
            store=AttentionStore(host) if attention else None,
        )
        noisy, count = torch.randn(len(prompts), 4, 16, 16), len(prompts)
        fields = {"prediction": torch.randn_like(noisy), "target": torch.randn_like(noisy), "masks": None} | fields
        made = losses.Step(
            noisy=noisy,
            timesteps=torch.full((count,), 300),
            prompts=prompts,
            concept_rows=count,
            world=world,
            **fields,
        )
        made.conditions = text.of(prompts)
        if attention:
            made.prediction, made.attention = made.attend(noisy, made.timesteps, made.conditions)
        return made

    return step


def view(maps):
    """A view whose mean map is `maps` [B, h, w, L]."""
    small = maps.new_full((len(maps), 1, 1, maps.shape[-1]), 0.5)
    return AttentionView({"small": small, "own": maps.flatten(1, 2)[:, None]})


@pytest.mark.evidence(level="parity", recipe="break-a-scene")
def test_the_masked_loss_is_over_the_things_that_the_prompt_names(step):
    masks = torch.zeros(2, 2, 16, 16)
    masks[:, 0, :, :8] = masks[:, 1, 8:, :] = 1.0
    made = step(["a photo of <cat>", "a photo of <dog> and <cat>"], part_masks=masks)
    error = (made.prediction - made.target) ** 2
    expected = torch.stack([error[0] * masks[0, 0], error[1] * masks[1].amax(0)]).mean()
    assert torch.isclose(losses.UnionDenoising()(made), expected, rtol=1e-5)
    assert torch.isclose(losses.UnionDenoising()(step(["a photo of <cat>"])), losses.Denoising()(step(["a <cat>"])))


@pytest.mark.evidence(level="parity", recipe="disendiff")
def test_calibration_of_two_words(step):
    prompt = "photo of a <cat> cat and <dog> dog"
    made = step([prompt], attention=False)
    maps = torch.rand(1, 8, 8, 77)
    made.attention = view(maps)

    def own(word):
        (place,) = made.positions(prompt, word)
        return formulas.smoothed(formulas.between_extremes(maps[0, ..., place]), 3, 0.5)

    cat, dog = own("cat") ** 2, own("dog") ** 2
    expected = 2 - formulas.soft_iou(cat, own("<cat>")) - formulas.soft_iou(dog, own("<dog>"))
    expected = 0.01 * (expected + formulas.soft_iou(cat, dog))
    assert torch.isclose(losses.AttentionCalibration()(made), expected)
    with pytest.raises(PersonaError, match="does not hold 'dog'"):
        made.prompts = ["photo of a <cat> cat and <dog>"]
        losses.AttentionCalibration()(made)


@pytest.mark.evidence(level="parity", recipe="mcpl")
def test_the_loss_where_words_attend(step):
    made = step(["a <cat> and <dog>"])
    maps = torch.rand(1, 8, 8, 77)
    made.attention = view(maps)
    places = [made.positions("a <cat> and <dog>", part.token)[0] for part in PARTS]
    mask = maps[0, ..., places].sum(-1)
    mask = F.interpolate(((mask / mask.max()) > 0.3).float()[None, None], (16, 16))
    expected = ((made.prediction - made.target) ** 2 * mask).mean()
    assert torch.isclose(losses.AttendedDenoising()(made), expected)


@pytest.mark.evidence(level="parity", recipe="mcpl")
def test_words_and_their_adjectives_are_contrasted(step):
    prompts = ["a red <cat> and my <dog>", "a photo of the red <cat> and my <dog>"]
    made = step(prompts)
    states = made.conditions["encoder_hidden_states"]

    def rows(words):
        places = [[made.positions(prompt, word)[0] for word in words] for prompt in prompts]
        return torch.stack([state[place] for state, place in zip(states, places)])

    words, adjectives = rows(["<cat>", "<dog>"]), rows(["red", "my"])
    plain = losses.PromptContrast(weight=1.0, temperature=0.2)(made)
    assert torch.isclose(plain, formulas.word_contrast(words, 0.2))
    bound = losses.PromptContrast(weight=1.0, temperature=0.2, adjectives=("red", "my"))(made)
    assert torch.isclose(bound, formulas.word_contrast(torch.cat([words, adjectives]), 0.2))
    with pytest.raises(PersonaError, match="one for each"):
        losses.PromptContrast(adjectives=("red",))(made)


@pytest.mark.evidence(level="parity", recipe="compositional-inversion")
def test_the_anchor_is_the_mean_square_over_all_input_embeddings(step):
    made = step(["a <cat>"], parts=PARTS[:1])
    vectors = made.learners["word"][0].parameters["text_encoder.embedding"]
    assert losses.Anchor()(made) == 0
    with torch.no_grad():
        vectors += torch.arange(32) / 10
    encoder = made.host.text_encoders["text_encoder"]
    seen = []
    handle = encoder.encoder.register_forward_pre_hook(
        lambda m, a, k: seen.append(k["inputs_embeds"]), with_kwargs=True
    )
    for prompt in ("a photo of a <cat>", "a photo of a cat"):
        made.host.encode_text(made.host.tokenize([prompt]))
    handle.remove()
    assert torch.isclose(losses.Anchor(weight=1.0)(made), F.mse_loss(*seen), rtol=1e-5)


@pytest.mark.evidence(level="parity", recipe="core")
def test_the_context_means_and_attends_what_it_does_around_the_class_word(step):
    """Both losses vanish for a word that equals its class word, and pull it back when it has left."""
    contexts = ("a photo of {phrase} on the beach",)
    both = (losses.ContextEmbedding(contexts=contexts), losses.ContextAttention(contexts=contexts))
    made = step(["a photo of <cat>"], attention=True, parts=PARTS[:1])
    assert all(loss(made).detach().abs() < 1e-6 for loss in both)
    vectors = made.learners["word"][0].parameters["text_encoder.embedding"]
    with torch.no_grad():
        vectors += torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    for loss in both:
        value = loss(made)
        (gradient,) = torch.autograd.grad(value, vectors)
        assert value > 0 and gradient.abs().max() > 0


@pytest.mark.evidence(level="parity", recipe="core")
def test_the_context_embedding_loss_skips_the_concept(step):
    made = step(["a photo of <cat>"], attention=True, parts=PARTS[:1])
    vectors = made.learners["word"][0].parameters["text_encoder.embedding"]
    with torch.no_grad():
        vectors += torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    prompts = ["a <cat> on the beach", "a cat on the beach"]
    own, usual = (made.encode([prompt])["encoder_hidden_states"][0] for prompt in prompts)
    expected = torch.stack([1 - F.cosine_similarity(own[i], usual[i], dim=0) for i in range(77) if i != 2]).mean()
    found = losses.ContextEmbedding(weight=1.0, contexts=("a {phrase} on the beach",))(made)
    assert torch.isclose(found, expected, rtol=1e-4)
    with torch.no_grad():
        vectors.copy_(made.learners["word"][0].constants["text_encoder.initial"])
    beside = losses.ContextEmbedding(weight=1.0, contexts=("a {phrase} and a cat",))
    assert beside(made).detach().abs() < 1e-6, "another word equal to the class word is a part of the context"


def test_reference_attention_needs_image_attention(step):
    made = step(["a <cat>"], parts=PARTS[:1])
    with pytest.raises(PersonaError, match="ImageAttention"):
        losses.ReferenceAttention()(made)


def test_attention_losses_reach_the_words(step):
    prompt = "photo of a <cat> cat and <dog> dog"
    masks = torch.zeros(1, 2, 16, 16)
    masks[:, 0, :, :8] = masks[:, 1, :, 8:] = 1.0
    for loss in (losses.AttentionInMasks(), losses.AttentionCalibration()):
        made = step([prompt], attention=True, part_masks=masks)
        loss(made).backward()
        for learner in made.learners["word"]:
            assert learner.parameters["text_encoder.embedding"].grad.abs().max() > 0
    with pytest.warns(UserWarning, match="no masks"):
        assert losses.AttentionInMasks()(dataclasses.replace(made, part_masks=None)) == 0
