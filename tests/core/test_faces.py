"""Faces: words in the space of names, networks that see identity, and the losses that hold on to it."""

import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from diffusers_persona import PersonaError, losses, spaces
from diffusers_persona.backbones import of
from diffusers_persona.functional.names import in_basis, in_statistics, name_basis, name_statistics, unit
from diffusers_persona.inversion.images import Example, ImageSet, load_images
from diffusers_persona.losses.identity import triplet
from diffusers_persona.spaces.names import mean_name_output, name_vectors, names


@pytest.fixture
def subject(pictures):
    examples = tuple(Example(image=picture) for picture in pictures)
    return spaces.Subject(token="<ada>", noun="person", pictures=ImageSet(examples=examples), resolution=32)


# --------------------------------------------------------------------------------------------------------------- names


@pytest.mark.evidence(level="parity", recipe="celeb-basis")
def test_a_basis_spans_the_names_and_unit_coefficients_stay_on_a_sphere_around_the_mean():
    vectors = torch.tensor([[3.0, 0, 0], [1, 0, 0], [2, 1, 0], [2, -1, 0]])
    mean, basis = name_basis(vectors, 2)
    assert torch.allclose(mean, torch.tensor([2.0, 0, 0]))
    assert torch.allclose(basis @ basis.T, torch.eye(2), atol=1e-6) and basis[:, 2].abs().max() < 1e-6
    coefficients = unit(torch.tensor([[3.0, 4.0]]))
    words = in_basis(coefficients, mean[None], basis[None])
    assert torch.allclose(words, mean + 0.6 * basis[0] + 0.8 * basis[1])
    assert float((words - mean).norm()) == pytest.approx(1.0)


@pytest.mark.evidence(level="parity", recipe="stable-identity")
def test_normalised_codes_take_the_names_mean_and_unbiased_deviation():
    mean, deviation = name_statistics(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    assert mean.tolist() == [2.0, 0.0] and deviation.tolist() == pytest.approx([math.sqrt(2), 0.0])
    assert in_statistics(torch.tensor([-1.0, 5.0]), mean, deviation).tolist() == pytest.approx([2 - math.sqrt(2), 0.0])


def test_names_are_two_words_each_and_lists_of_ones_own_are_checked():
    assert len(names("celebrities")) > 400 and all(len(name.split()) == 2 for name in names("celebrities"))
    assert len(names("toybox")) == 50
    with pytest.raises(PersonaError, match="give 'celebrities', 'toybox'"):
        names("actors")
    with pytest.raises(PersonaError, match="a first and a last name"):
        names(("Ada", *names("toybox")))


def test_only_names_of_two_known_tokens_count_where_there_are_enough():
    from diffusers_persona import toybox

    pipe = toybox.load()
    first, last = name_vectors(pipe.text_encoder, pipe.tokenizer, ("Someone Unheard", *names("toybox")))
    table = pipe.text_encoder.get_input_embeddings().weight
    ids = pipe.tokenizer("anna smith", add_special_tokens=False)["input_ids"]
    assert first.shape == (50, 128) and torch.equal(torch.stack([first[0], last[0]]), table[ids])


@pytest.mark.evidence(level="parity", recipe="cross-initialization")
def test_cross_initialisation_is_what_the_encoder_makes_of_the_two_mean_names(pipe):
    """The same states come from a stock encoder whose table holds the means as two further rows."""
    encoder, tokenizer = pipe.text_encoder, pipe.tokenizer
    found = mean_name_output(encoder, tokenizer, "toybox")
    means = [column.mean(0) for column in name_vectors(encoder, tokenizer, "toybox")]
    tokenizer.add_tokens(["<m1>", "<m2>"])
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        encoder.get_input_embeddings().weight[-2:] = torch.stack(means)
        states = encoder(of(pipe).tokenize(["<m1> <m2>"])["text_encoder"]).last_hidden_state
    assert torch.allclose(found, states[0, 1:3], atol=1e-5)


@pytest.mark.evidence(level="parity", recipe="cross-initialization")
def test_staying_near_costs_the_mean_distance_from_the_first_values():
    initial = torch.zeros(2, 3)
    moved = torch.nn.Parameter(torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]))
    learner = spaces.Learner(parameters={"text_encoder.embedding": moved}, constants={"text_encoder.initial": initial})
    world = type("World", (), {"learners": {"word": [learner]}})
    step = losses.Step(prediction=None, target=None, masks=None, concept_rows=1, world=world)
    assert float(losses.StayNear(weight=0.5)(step)) == pytest.approx(0.5 * (5 + 1) / 2, rel=1e-4)


@pytest.mark.parametrize("space", [spaces.CelebBasis(names="toybox", components=8), spaces.NameStatistics()])
def test_a_face_becomes_a_plain_word_that_its_network_writes_anew_in_each_pass(pipe, subject, space):
    host = of(pipe).private_clone()
    learner = space.prepare(host, subject)
    words = learner.tensors()["text_encoder.embedding"]
    assert words.shape == (2, 32)
    batch = type("Batch", (), {"pictures": [0, 1], "concept_rows": 2})
    learner.follow(batch, None)
    host.encode_text(host.tokenize(["a photo of <ada>"]))["encoder_hidden_states"].sum().backward()
    assert all(p.grad is not None for p in learner.parameters.values())
    with torch.no_grad():
        next(iter(learner.parameters.values())).add_(1.0)
    assert not torch.equal(learner.tensors()["text_encoder.embedding"], words)


@pytest.mark.evidence(level="parity", recipe="celeb-basis")
def test_the_concept_keeps_coefficients_of_length_1(pipe, learned):
    concept = learned(pipe, "celeb-basis", noun="person")
    tensors = concept.tensors_of(0)
    assert concept.spaces[0].kind == "word" and concept.spaces[0].vectors == 2
    assert torch.allclose(tensors["text_encoder.coefficients"].norm(dim=1), torch.ones(2), atol=1e-5)


# ------------------------------------------------------------------------------------------------------------ identity


@pytest.mark.evidence(level="parity", recipe="id-booth")
def test_the_triplet_is_the_difference_of_cosine_distances_with_a_margin():
    anchor, same, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    assert float(triplet(anchor, same, other, 1.0)) == pytest.approx(0.0)
    assert float(triplet(anchor, other, same, 1.0)) == pytest.approx(2.0)


def test_the_miniature_worlds_network_knows_its_people_and_passes_gradients_to_pixels():
    from diffusers_persona import toybox
    from diffusers_persona.encoders.face import face_features

    encoder = face_features(of(toybox.load()), "toybox")
    first, second = (toybox.concept(name) for name in ("diana-evans", "peter-bailey"))
    images = [Image.open(path) for path in (*first.references[:2], second.references[0])]
    vectors = encoder.pictures(images)
    assert torch.allclose(vectors, toybox.instruments.load().face(images), atol=0.05)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    pixels = torch.zeros(1, 3, 64, 64, requires_grad=True)
    seen, found = encoder(pixels)
    seen[0, 0].backward()
    assert not found.all() or pixels.grad.abs().max() > 0


@pytest.mark.evidence(level="parity", recipe="id-booth")
def test_identity_is_held_on_the_decoded_clean_estimate_and_fades_with_noise(pipe, learned):
    """At the last timestep the weight (1 - t / T)^2 is next to nothing."""
    seen = []

    class Spy(losses.Identity):
        def __call__(self, step):
            step.timesteps = torch.full_like(step.timesteps, 999)
            late = float(super().__call__(step).detach())
            step.timesteps = torch.zeros_like(step.timesteps)
            seen.append((late, float(super().__call__(step).detach())))
            return step.prediction.sum() * 0

    from diffusers_persona import inversion, learn
    from diffusers_persona.recipe import Recipe, get
    from diffusers_persona.testing import tiny_pictures

    declared = get("id-booth").build(steps=1, batch_size=2, prior_count=2)
    method = inversion.Optimization(
        steps=1, lr=1e-3, batch_size=2, losses=[*declared.method.losses[:2], Spy(margin=1.0)]
    )
    recipe = Recipe(space=declared.space, method=method, scheme=declared.scheme, data=declared.data)
    learn(pipe, tiny_pictures(2), recipe, noun="dog", progress=False)
    (late, early), *_ = seen
    assert 0 <= late <= 1e-5 and early >= late


def test_a_host_without_a_face_network_says_what_to_give(pipe, tmp_path):
    from diffusers_persona.encoders.face import face_features

    host = type("Host", (), {"miniature": False})
    with pytest.raises(PersonaError, match="give face= a file with the weights of an ArcFace"):
        face_features(host)
    wrong = tmp_path / "wrong.pt"
    torch.save({"layer1.weight": torch.zeros(1)}, wrong)
    with pytest.raises(PersonaError, match="no weights of an iresnet"):
        face_features(host, str(wrong))


def test_weights_of_an_iresnet_file_tell_its_depth(tmp_path):
    from safetensors.torch import save_file

    from diffusers_persona.encoders.face import face_features
    from diffusers_persona.encoders.iresnet import IResNet

    torch.manual_seed(0)
    network = IResNet(blocks=(1, 2, 1, 1), dimensions=16).eval()
    save_file({f"module.{k}": v for k, v in network.state_dict().items()}, tmp_path / "face.safetensors")
    encoder = face_features(type("Host", (), {"miniature": False}), str(tmp_path / "face.safetensors"))
    pixels = torch.randn(1, 3, 112, 112)
    assert torch.allclose(encoder(pixels)[0], F.normalize(network(pixels), dim=-1), atol=1e-5)


# ----------------------------------------------------------------------------------------------------- clean estimates


def step_of(host, **facts):
    world = losses.World(
        host=host,
        stock=None,
        subject=None,
        learners={},
        text=None,
        stock_text=None,
        schedule=host.noise_schedule(),
        autocast=None,
    )
    return losses.Step(concept_rows=2, world=world, **{"masks": None, **facts})


@pytest.mark.evidence(level="parity", recipe="stable-identity")
def test_noise_is_learned_above_the_switch_and_clean_latents_below_it(pipe):
    host = of(pipe)
    clean, noise = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4)
    times = torch.tensor([900, 100])
    noisy = host.noise_schedule().add_noise(clean, noise, times)
    prediction = noise + 0.1
    alphas = host.noise_schedule().alphas_cumprod[times[1]]
    masks = torch.zeros(2, 1, 4, 4)
    masks[:, :, :2] = 1.0
    facts = dict(target=noise, noise=noise, noisy=noisy, latents=clean, timesteps=times, masks=masks)
    step = step_of(host, prediction=prediction, **facts)
    expected = (0.1**2 + 4.0 * 0.1**2 * (1 - alphas) / alphas) / 2
    assert float(losses.NoisyThenClean(clean_weight=4.0)(step)) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.evidence(level="parity", recipe="singleinsert")
def test_insertion_takes_the_thing_from_the_picture_and_the_rest_from_the_class(pipe):
    """Hand values: inside the mask the estimate is 1 off the picture, outside 2 off the twin; semantics are 3 off."""

    class Known(losses.Step):
        def clean(self, prediction, noisy, timesteps):
            return prediction

        def encode(self, prompts):
            assert prompts == ["a photo of dog"] * 2
            return {}

        stock_encode = encode

        def stock_denoise(self, noisy, timesteps, conditions):
            return self.prediction - 2.0

        def denoise(self, noisy, timesteps, conditions):
            return self.prediction + 1.0

    masks = torch.zeros(2, 1, 4, 4)
    masks[:, :, :1] = 1.0
    subject = spaces.Subject(token="<x>", noun="dog")
    facts = dict(target=None, noisy=torch.zeros(2, 4, 4, 4), timesteps=torch.zeros(2), latents=torch.zeros(2, 4, 4, 4))
    step = Known(
        prediction=torch.ones(2, 4, 4, 4),
        masks=masks,
        concept_rows=2,
        prompts=["a photo of <x> dog"] * 2,
        world=type("World", (), {"subject": subject}),
        **facts,
    )
    assert float(losses.Insertion()(step)) == pytest.approx(0.25 * 1 + 0.75 * 4)
    assert float(losses.Insertion(background=0.0, semantic=1.0)(step)) == pytest.approx(0.25 * 1 + 9)


@pytest.mark.evidence(level="parity", recipe="singleinsert")
def test_the_word_of_a_picture_sees_the_thing_alone(pipe, pictures):
    mask = Image.new("L", pictures[0].size)
    mask.paste(255, (8, 8, 24, 24))
    other = Image.new("RGB", pictures[0].size, (255, 0, 0))
    other.paste(pictures[0].crop((8, 8, 24, 24)), (8, 8))
    space = spaces.ImageWord(side=32, patch=16, width=32, layers=1, heads=2)
    found = []
    for picture in (pictures[0], other):
        images = ImageSet(examples=(Example(image=picture, mask=mask),))
        subject = spaces.Subject(token="<x>", noun="dog", pictures=images)
        found.append(space.prepare(of(pipe).private_clone(), subject).tensors()["text_encoder.embedding"])
    assert found[0].shape == (1, 32) and torch.equal(*found)


# ------------------------------------------------------------------------------------------------- pictures of its own


@pytest.mark.evidence(level="parity", recipe="magicapture")
def test_only_attention_outside_the_mask_costs():
    from diffusers_persona.functional.refocusing import attention_outside

    mask = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    inside = torch.tensor([[[5.0, 0.0], [1.0, 0.0]]])
    assert float(attention_outside(inside, mask)) == pytest.approx(0.0)
    outside = torch.tensor([[[0.0, 4.0], [0.0, 2.0]]])
    assert float(attention_outside(outside, mask)) == pytest.approx((1.0 + 0.25) / 4, rel=1e-4)


@pytest.mark.evidence(level="parity", recipe="magicapture")
def test_a_person_and_a_style_come_with_pictures_and_prompts_of_their_own(pictures, tmp_path):
    from diffusers_persona.inversion.prompts import EachItsOwn

    images = load_images({"person": pictures[:1], "style": pictures[1:3]}, parts=("person", "style"))
    assert [(e.number, e.part) for e in images] == [(0, 0), (1, 1), (2, 1)]
    for part, own in (("style", pictures[:1]), ("person", pictures[1:3])):
        (tmp_path / part).mkdir()
        for n, picture in enumerate(own):
            picture.save(tmp_path / part / f"{n}.png")
    assert [e.part for e in load_images(tmp_path, parts=("person", "style"))] == [0, 0, 1]
    prompts = EachItsOwn((("a photo of {0}",), ("{1}", "{0} in {1}")))
    drawn = {prompts.pick("object", "<p> and <s>", images[2], torch.Generator().manual_seed(n)) for n in range(9)}
    assert prompts.pick("object", "<p> and <s>", images[0]) == "a photo of <p>" and drawn == {"<s>", "<p> in <s>"}
    with pytest.raises(PersonaError, match="give the pictures as a mapping"):
        prompts.pick("object", "<p> and <s>", Example(image=pictures[0]))
    with pytest.raises(PersonaError, match="the recipe learns one thing"):
        load_images({"person": pictures})


@pytest.mark.evidence(level="parity", recipe="magicapture")
def test_a_face_counts_inside_its_mask_and_a_style_outside_of_it_and_twice_at_first(pictures):
    masks = torch.zeros(2, 1, 2, 2)
    masks[:, :, 0] = 1.0
    whole = Image.new("L", pictures[0].size, 255)
    images = ImageSet(examples=tuple(Example(image=p, mask=whole, part=n) for n, p in enumerate(pictures[:2])))
    prediction = torch.tensor([[[[1.0, 1], [5, 5]]], [[[7.0, 7], [2, 2]]]])
    world = type("World", (), {"subject": spaces.Subject(token="", noun="", pictures=images)})
    facts = dict(prediction=prediction, target=torch.zeros(2, 1, 2, 2), masks=masks, concept_rows=2, world=world)
    early, late = (losses.Step(**facts, pictures=[0, 1], number=n, steps=10) for n in (0, 9))
    assert float(losses.OwnPictures(further=2.0)(early)) == pytest.approx((1 + 2 * 4) / 2)
    assert float(losses.OwnPictures(further=2.0)(late)) == pytest.approx((1 + 4) / 2)
