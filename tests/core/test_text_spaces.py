"""Spaces that act on what a text encoder gives: their equations, and which prompts they leave alone."""

import math

import pytest
import torch

from diffusers_persona import PersonaError, learn, losses, spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional.layout import layout_logits, region_mask, region_weights
from diffusers_persona.functional.prefix_attention import prefix_attention
from diffusers_persona.functional.prompt_tuning import ascend_similarity
from diffusers_persona.functional.token_rows import last_position, occurrences
from diffusers_persona.losses.text import KnowledgePreservation, OtherTokens

RNG = torch.Generator().manual_seed(0)


def text(host, prompt):
    return host.encode_text(host.tokenize([prompt]))["encoder_hidden_states"][0].detach()


def attached(host, space, tensors, **options):
    grip = spaces.Grip(key=(), **options)
    space.attach(host, tensors, grip)
    return grip


def places(host, prompt, word):
    ids = host.tokenize([prompt])["text_encoder"]
    return occurrences(ids, host.tokenizers["text_encoder"](word, add_special_tokens=False)["input_ids"])[0]


def test_a_word_is_found_where_all_its_tokens_stand_in_a_row():
    ids = torch.tensor([[0, 5, 6, 5, 7, 1, 1], [0, 6, 5, 6, 1, 1, 1]])
    assert occurrences(ids, [5, 6]).nonzero().tolist() == [[0, 1], [1, 2]]
    assert not occurrences(ids, [9]).any() and not occurrences(ids, []).any()
    assert last_position(ids, 1).tolist() == [5, 4]


# --------------------------------------------------------------------------------------------------------------- HiPer


@pytest.mark.evidence(level="parity", recipe="hiper")
def test_the_last_vectors_of_the_output_are_the_learned_ones_times_the_factor(pipe):
    """cond = [E(target) without the last n, 0.8 e]: for prompts with the class word alone."""
    host, vectors = of(pipe), torch.randn(5, 32, generator=RNG)
    with_word, without, empty = (text(host, p) for p in ("a red dog", "a red cat", ""))
    grip = attached(host, spaces.TextOutput(use=0.8, noun="dog"), {"text_encoder.embedding": vectors})
    found = text(host, "a red dog")
    assert torch.allclose(found[-5:], 0.8 * vectors, atol=1e-6) and torch.equal(found[:-5], with_word[:-5])
    assert torch.equal(text(host, "a red cat"), without) and torch.equal(text(host, ""), empty)
    grip.scale = 0.5
    assert torch.allclose(text(host, "a red dog")[-5:], 0.5 * (with_word[-5:] + 0.8 * vectors), atol=1e-6)
    grip.release()
    assert torch.equal(text(host, "a red dog"), with_word)


@pytest.mark.evidence(level="parity", recipe="hiper")
def test_output_vectors_begin_as_the_captions_own(pipe):
    clone = of(pipe).private_clone()
    before = text(of(pipe), "a photo of a dog")
    learner = spaces.TextOutput().prepare(clone, spaces.Subject(token="sks", noun="dog"))
    assert torch.equal(learner.parameters["text_encoder.embedding"], before[-5:])
    assert torch.allclose(text(clone, "a photo of a dog"), before, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------- CatVersion


@pytest.mark.evidence(level="parity", recipe="catversion")
def test_prefix_attention_is_attention_over_one_more_key_with_its_bias():
    query, key, value = (torch.randn(1, 2, 3, 4, generator=RNG) for _ in range(3))
    prefix = torch.randn(2, 1, 8, generator=RNG)
    found = prefix_attention(query, key, value, prefix, bias=1.0)
    own_key, own_value = prefix[0, 0].view(2, 4), prefix[1, 0].view(2, 4)
    for head in range(2):
        for place in range(3):
            logits = [float(query[0, head, place] @ own_key[head]) / 2 + 1.0]
            logits += [float(query[0, head, place] @ key[0, head, k]) / 2 for k in range(place + 1)]
            weights = torch.tensor([math.exp(v) for v in logits])
            values = torch.stack([own_value[head], *value[0, head, : place + 1]])
            assert torch.allclose(found[0, head, place], (weights / weights.sum()) @ values, atol=1e-5)


@pytest.mark.evidence(level="parity", recipe="catversion")
def test_a_prefix_without_weight_leaves_the_text_encoder_as_it_is(pipe):
    """With logits of minus a million the layers compute what they compute without a prefix."""
    host, tensors = of(pipe), {"text_encoder.prefix": torch.randn(2, 2, 1, 32, generator=RNG)}
    before = text(host, "a red dog")
    with_bias = {bias: attached(host, spaces.TextPrefix(bias=bias, noun="dog"), tensors) for bias in (-1e6,)}
    assert torch.allclose(text(host, "a red dog"), before, atol=1e-5)
    with_bias[-1e6].release()
    grip = attached(host, spaces.TextPrefix(bias=1.0, noun="dog"), tensors)
    assert not torch.allclose(text(host, "a red dog"), before, atol=1e-3)
    assert torch.equal(text(host, "a red cat"), text(of(pipe), "a red cat"))
    grip.release()


# ------------------------------------------------------------------------------------------------------------- Cones 2


@pytest.mark.evidence(level="parity", recipe="cones2")
def test_the_residual_is_added_where_the_class_word_stands(pipe):
    host, residual = of(pipe), torch.randn(1, 32, generator=RNG)
    before = text(host, "a red dog and a dog")
    grip = attached(host, spaces.TextResidual(noun="dog"), {"text_encoder.residual": residual}, scale=0.5)
    here = places(host, "a red dog and a dog", "dog")
    assert here.sum() == 2
    assert torch.allclose(text(host, "a red dog and a dog"), before + 0.5 * here[:, None] * residual, atol=1e-6)
    grip.release()


@pytest.mark.evidence(level="parity", recipe="cones2")
def test_the_learned_residual_is_the_mean_change_of_the_word_over_the_templates(pipe):
    clone = of(pipe).private_clone()
    space = spaces.TextResidual(templates=("a {phrase}", "the red {phrase}"))
    learner = space.prepare(clone, spaces.Subject(token="sks", noun="dog"))
    assert learner.tensors()["text_encoder.residual"].abs().max() == 0
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter.add_(0.05)
    changes = [(text(clone, p) - text(of(pipe), p))[places(clone, p, "dog")] for p in ("a dog", "the red dog")]
    assert torch.allclose(learner.tensors()["text_encoder.residual"], sum(changes) / 2, atol=1e-5)


class Texts:
    """What a loss sees of the two text encoders, with states given by hand."""

    concept_rows, number, prompts, subject = 1, 0, ["dog"], spaces.Subject(token="sks", noun="dog")

    def __init__(self, now, before):
        self.conditions = {"encoder_hidden_states": now}
        self._now, self._before = now, before

    def encode(self, prompts):
        return {"encoder_hidden_states": self._now}

    def stock_encode(self, prompts):
        return {"encoder_hidden_states": self._before}

    def positions(self, prompt, word):
        return [1]


@pytest.mark.evidence(level="parity", recipe="cones2")
def test_other_tokens_are_held_by_the_norm_of_their_change():
    before, change = torch.zeros(1, 4, 2), torch.tensor([[[3.0, 4.0], [9.0, 9.0], [6.0, 0.0], [0.0, 8.0]]])
    loss = OtherTokens(start=1e-2, rest=1e-3)(Texts(before + change, before))
    assert loss.item() == pytest.approx(1e-2 * 5.0 + 1e-3 * 10.0)


@pytest.mark.evidence(level="parity", recipe="cones2")
def test_layout_guidance_moves_a_word_into_its_region(pipe, learned, draw):
    """w log(1 + sigma^2) std(Q K^T), by hand; and a word outside its box is not attended to."""
    query, key = torch.tensor([[[[1.0], [2.0]]]]), torch.tensor([[[[1.0], [3.0]]]])
    mask, words = torch.tensor([1.0, 0.0]), torch.tensor([[False, True]])
    weights = region_weights(mask, words, 2.5, -1e8)
    assert weights.tolist() == [[[0.0, 2.5], [0.0, -1e8]]]
    spread = torch.tensor([1.0, 3.0, 2.0, 6.0]).std()
    found = layout_logits(query, key, weights, 2.0, 0.08)
    assert torch.allclose(found[0, 0], 0.08 * math.log(5.0) * spread * weights[0])
    concept = learned(pipe, "cones2")
    with concept.attach(pipe):
        whole = draw(pipe, "a dog and a cat")
    with concept.attach(pipe, region=(0.0, 0.0, 0.5, 1.0)):
        assert abs(draw(pipe, "a dog and a cat") - whole).max() > 1e-4
        assert abs(draw(pipe, "a cat") - draw(pipe, "a cat")).max() == 0
    assert not [n for n, m in pipe.unet.named_modules() for h in getattr(m, "_diffusers_hook", _None).hooks]


class _None:
    hooks = ()


def test_a_region_is_a_box_or_a_mask():
    assert region_mask((0.0, 0.5, 0.5, 1.0), 2, 2).tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert region_mask(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), 4, 4)[:, 2:].min() == 1.0


# ----------------------------------------------------------------------------------------------------------- TextBoost


@pytest.mark.evidence(level="parity", recipe="textboost")
def test_start_token_and_empty_prompt_stay_stock_whatever_the_weights(pipe):
    host = of(pipe)
    empty, prompt = text(host, ""), text(host, "a red dog")
    grip = attached(host, spaces.StockText(), {"text_encoder.null": empty})
    with torch.no_grad():
        for parameter in pipe.text_encoder.encoder.parameters():
            parameter.mul_(1.5)
    changed = text(host, "a red dog")
    assert torch.equal(text(host, ""), empty)
    assert torch.equal(changed[0], empty[0]) and not torch.allclose(changed[1:], prompt[1:])
    grip.release()


@pytest.mark.evidence(level="parity", recipe="textboost")
def test_knowledge_is_kept_by_the_cosine_of_class_prompts():
    now, before = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([[[2.0, 0.0], [1.0, 0.0]]])
    assert KnowledgePreservation(weight=0.1)(Texts(now, before)).item() == pytest.approx(0.1 * 0.5)


@pytest.mark.evidence(level="parity", recipe="textboost")
def test_textboost_trains_projections_of_the_text_encoder_and_words_alone(pipe, learned):
    concept = learned(pipe, "textboost")
    names = {k.partition(".")[2] for k in concept.tensors if ".low_rank." in k}
    assert names and all(f".{p}." in n for n in names for p in [n.split(".lora")[0].rpartition(".")[2]])
    assert {n.split(".lora")[0].rpartition(".")[2] for n in names} == {"q_proj", "k_proj", "v_proj"}
    words = {space.token for space in concept.spaces if space.kind == "word"}
    assert {"<dog>", "<dog-flip>", "<dog-zoom-out>"} <= words


# --------------------------------------------------------------------------------------------------------- DreamArtist


@pytest.mark.evidence(level="parity", recipe="dreamartist")
def test_the_loss_goes_through_guidance_away_from_the_negative_word():
    class Step:
        concept_rows, masks, prompts = 1, None, ["a <toy> there"]
        prediction, target, noisy = (torch.tensor([[[[v]]]]) for v in (3.0, 10.0, 0.0))
        timesteps, subject, asked = torch.tensor([1]), spaces.Subject(token="<toy>", noun="dog"), []

        def encode(self, prompts):
            self.asked += prompts
            return {}

        def denoise(self, noisy, timesteps, conditions):
            return torch.tensor([[[[1.0]]]])

    step = Step()
    assert losses.GuidedDenoising(guidance=5.0)(step).item() == (10.0 - (1.0 + 5.0 * 2.0)) ** 2
    assert step.asked == ["a <toy-neg> there"]


def test_a_dreamartist_concept_brings_its_negative_prompt(pipe, learned):
    concept = learned(pipe, "dreamartist", negative_vectors=4)
    assert concept.negative == "<dog-neg>" and concept.phrase == "<dog>"
    assert [space.vectors for space in concept.spaces] == [3, 4]


# ------------------------------------------------------------------------------------------------- Aesthetic Gradients


@pytest.mark.evidence(level="parity", recipe="aesthetic-gradients")
def test_tuning_takes_adam_steps_up_the_cosine():
    """The first step of Adam is lr times the gradient's sign; nothing else is touched."""
    weight, target = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 5.0])
    tuned = ascend_similarity(lambda w: w["w"], {"w": weight}, target, updates=1, lr=0.1)
    assert torch.allclose(tuned["w"], torch.tensor([1.0, 0.1]), atol=1e-5)
    assert weight.tolist() == [1.0, 0.0]
    assert torch.equal(ascend_similarity(lambda w: w["w"], {"w": weight}, target, updates=0, lr=0.1)["w"], weight)


@pytest.mark.evidence(level="parity", recipe="aesthetic-gradients")
def test_each_prompt_is_encoded_by_an_encoder_tuned_toward_the_pictures(pipe):
    """Against a plain copy of the text encoder that is tuned with stock modules; the empty prompt stays."""
    import copy

    host, embedding = of(pipe), torch.randn(1, 8, generator=RNG)
    projection = torch.randn(32, 8, generator=RNG)
    empty = text(host, "")
    grip = attached(host, spaces.TunedText(updates=3, lr=1e-2), {"embedding": embedding, "projection": projection})
    found = text(host, "a red dog")
    assert torch.equal(text(host, ""), empty)
    grip.release()
    encoder, ids = copy.deepcopy(pipe.text_encoder), host.tokenize(["a red dog"])["text_encoder"]
    end = int(last_position(ids, pipe.tokenizer.eos_token_id))
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        state = encoder(ids).last_hidden_state[0, end] @ projection
        (-torch.cosine_similarity(state, embedding[0], dim=0)).backward()
        optimizer.step()
    assert torch.allclose(found, encoder(ids).last_hidden_state[0], atol=1e-4)


def test_an_aesthetic_concept_is_computed_without_a_step(pipe, pictures):
    concept = learn(pipe, pictures, "aesthetic-gradients", noun="style", progress=False)
    assert concept.header["training"]["steps"] == 0
    assert set(concept.tensors_of(0)) == {"embedding", "projection"} and concept.phrase == "style"


# ---------------------------------------------------------------------------------------------------------- DisenBooth


@pytest.mark.evidence(level="parity", recipe="disenbooth")
def test_each_picture_has_a_vector_of_its_own_that_stays_out_of_use(pipe, learned, draw):
    concept = learned(pipe, "disenbooth")
    tensors = concept.tensors_of(1)
    assert tensors["features"].shape[0] == 4 and tensors["output.weight"].shape == (32, 128)
    host, before = of(pipe), text(of(pipe), "a red dog")
    attached(host, spaces.ImageBranch(noun="dog"), tensors)
    assert torch.equal(text(host, "a red dog"), before)
    grip = attached(host, spaces.ImageBranch(picture=2, noun="dog"), tensors)
    change = text(host, "a red dog") - before
    assert change.abs().max() > 0 and torch.allclose(change, change[:1].expand_as(change), atol=1e-6)
    grip.release()
    with pytest.raises(PersonaError, match="keeps 4 references"):
        attached(host, spaces.ImageBranch(picture=4, noun="dog"), tensors)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("space", "key", "shape"),
    [
        (spaces.TextOutput(noun="dog"), "text_encoder.embedding", "[n, 32]"),
        (spaces.TextResidual(noun="dog"), "text_encoder.residual", "[1, 32]"),
        (spaces.TextPrefix(noun="dog"), "text_encoder.prefix", "[n, 2, n, 32]"),
        (spaces.StockText(), "text_encoder.null", "[n, 32]"),
    ],
)
def test_a_tensor_of_another_width_is_refused_by_name(pipe, space, key, shape):
    with pytest.raises(PersonaError, match=key) as error:
        attached(of(pipe), space, {key: torch.zeros(3, 7)})
    assert shape in str(error.value)


def test_text_that_is_encoded_once_has_no_window(pipe, learned):
    with pytest.raises(PersonaError, match="window"):
        learned(pipe, "hiper").attach(pipe, window=(0.0, 0.5))


def test_a_concept_without_regions_says_so(pipe, learned):
    with pytest.raises(PersonaError, match="region"):
        learned(pipe, "hiper").attach(pipe, region=(0.0, 0.0, 0.5, 0.5))
