"""Attention maps: how they are recorded and read, and the formulas on them."""

import pytest
import torch
import torch.nn.functional as F

from diffusers_persona import PersonaError
from diffusers_persona.attention.reading import Reading
from diffusers_persona.attention.store import AttentionStore, AttentionView
from diffusers_persona.backbones import of
from diffusers_persona.functional import attention_maps as maps


@pytest.fixture
def scene(pipe):
    """A private clone, noisy latents, timesteps and conditions of two prompts."""
    host = of(pipe).private_clone()
    torch.manual_seed(0)
    conditions = {k: v.detach() for k, v in host.encode_text(host.tokenize(["a photo of cat", "a dog"])).items()}
    return host, torch.randn(2, 4, 16, 16), torch.tensor([10, 500]), conditions


def test_a_host_whose_maps_are_recorded_predicts_what_it_did(scene):
    host, noisy, timesteps, conditions = scene
    plain = host.denoise(noisy, timesteps, conditions)
    store = AttentionStore(host)
    assert torch.allclose(host.denoise(noisy, timesteps, conditions), plain, atol=1e-5)
    view = store.take()
    assert set(view.layers) == set(host.attention_layers("cross")) and not store.layers
    for recorded in view.layers.values():
        assert recorded.shape[0] == 2 and torch.allclose(recorded.sum(-1), torch.ones(recorded.shape[:-1]), atol=1e-5)


def test_gradient_flows_through_recorded_maps_into_the_text(scene):
    host, noisy, timesteps, conditions = scene
    store, text = AttentionStore(host), conditions["encoder_hidden_states"].requires_grad_(True)
    host.denoise(noisy, timesteps, {"encoder_hidden_states": text})
    store.take().mean()[..., 3].square().sum().backward()
    assert text.grad.abs().max() > 0


def test_reading_gives_the_recorded_maps_and_leaves_the_layers_alone(scene):
    host, noisy, timesteps, conditions = scene
    plain, layers = host.denoise(noisy, timesteps, conditions), host.attention_layers("cross")
    with Reading(host.denoiser, layers) as reading:
        assert torch.equal(host.denoise(noisy, timesteps, conditions), plain)
    assert not any(m._forward_hooks for m in host.denoiser.modules())
    store = AttentionStore(host)
    host.denoise(noisy, timesteps, conditions)
    for path, recorded in store.take().layers.items():
        assert torch.allclose(reading.maps[path], recorded, atol=1e-6)


def test_fused_layers_cannot_be_read(scene):
    host = scene[0]
    host.denoiser.fuse_qkv_projections()
    with pytest.raises(PersonaError, match="fused"):
        Reading(host.denoiser, host.attention_layers("cross"))


def test_means_of_maps():
    """`mean` takes the second smallest size, `whole` all of them, each layer with the same weight."""
    small, large = torch.full((1, 2, 4, 3), 0.25), torch.rand(1, 2, 16, 3)
    view = AttentionView({"a": small, "b": large, "c": large + 1.0})
    assert view.sides == [2, 4]
    expected = large.mean(1).view(1, 4, 4, 3) + 0.5
    assert torch.allclose(view.mean(), expected)
    assert torch.allclose(view.mean(2), torch.full((1, 2, 2, 3), 0.25))
    assert torch.allclose(view.whole(), (2 * expected + 0.25) / 3)


def test_smoothing_keeps_constants_and_spreads_a_peak():
    peak = torch.zeros(1, 5, 5)
    peak[0, 2, 2] = 1.0
    spread = maps.smoothed(peak, 3, 0.5)
    assert torch.allclose(maps.smoothed(torch.ones(2, 5, 5)), torch.ones(2, 5, 5))
    assert torch.isclose(spread.sum(), torch.tensor(1.0)) and torch.allclose(spread[0], spread[0].T)
    assert torch.isclose(spread[0, 2, 1] / spread[0, 2, 2], torch.exp(torch.tensor(-2.0)))


def test_normalising():
    own = torch.tensor([[[1.0, 3.0], [2.0, 5.0]]])
    assert torch.allclose(maps.by_maximum(own), own / 5)
    assert torch.allclose(maps.between_extremes(own), (own - 1) / 4)


def test_attention_that_is_nowhere_is_no_reason_to_stop():
    """A softmax may underflow for a word; formulas then give numbers, and no gradient."""
    nothing = torch.zeros(1, 4, 4, requires_grad=True)
    found = (maps.by_maximum(nothing), maps.between_extremes(nothing), maps.outside(nothing, torch.ones(4, 4)))
    sum(f.sum() for f in found).backward()
    assert all(f.isfinite().all() for f in found) and nothing.grad.isfinite().all()
    assert not maps.otsu(torch.zeros(1, 16)).any()


@pytest.mark.evidence(level="parity", recipe="disendiff")
def test_soft_intersection_over_union():
    """(sum ab + 1) / (sum a + sum b - sum ab + 1)."""
    a, b = torch.tensor([[1.0, 0.5], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert torch.isclose(maps.soft_iou(a, b), torch.tensor(2.0 / 3.5))
    assert torch.isclose(maps.soft_iou(b, b), torch.tensor(1.0))


@pytest.mark.evidence(level="parity", recipe="compositional-inversion")
def test_attention_outside_a_box():
    """(1 - sum(A M) / sum(A))^2; a box in parts of the picture covers the cells that begin in it."""
    own = torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    region = maps.box_region((0.5, 0.0, 1.0, 1.0), 2, 2, like=own)
    assert torch.equal(region, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert torch.isclose(maps.outside(own, region), torch.tensor((1 - 3 / 4) ** 2))
    assert maps.box_region((0.9, 0.9, 1.0, 1.0), 4, 4, like=own).sum() == 1


@pytest.mark.evidence(level="parity", recipe="mcpl")
def test_words_are_contrasted_with_the_same_word_of_the_next_prompt():
    """-s_pos / T + log sum exp(s / T) over all other words of all prompts."""
    torch.manual_seed(0)
    features, t = torch.randn(2, 2, 5), 0.3
    flat = features.flatten(0, 1)
    losses = []
    for row in range(4):
        s = [float(F.cosine_similarity(flat[row], flat[k], dim=0)) / t for k in range(4)]
        others = torch.tensor([s[k] for k in range(4) if k != row])
        losses.append(others.logsumexp(0) - s[(row + 2) % 4])
    assert torch.isclose(maps.word_contrast(features, t), torch.stack(losses).mean(), atol=1e-5)
