"""Which noise levels learning sees."""

import pytest
import torch
from diffusers import DDPMScheduler

from diffusers_persona import PersonaError
from diffusers_persona.functional.diffusion import clean_estimate
from diffusers_persona.inversion import timesteps


@pytest.fixture(scope="module")
def schedule():
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def draws(sampler, schedule, count=20000):
    return sampler.draw(count, schedule, torch.Generator().manual_seed(0)).float()


def test_uniform_draws_every_step_alike(schedule):
    found = draws(timesteps.Uniform(), schedule)
    assert found.min() == 0 and found.max() == 999
    assert abs(float(found.mean()) - 499.5) < 10


def test_a_part_of_the_process(schedule):
    found = draws(timesteps.Between(low=0.2, high=0.4), schedule)
    assert found.min() == 200 and found.max() == 399


@pytest.mark.evidence(level="parity", recipe="reversion")
@pytest.mark.parametrize("alpha", [0.5, -0.5])
def test_the_cosine_sampler_has_the_papers_mean(schedule, alpha):
    """The mean of t under (1 - alpha cos(pi t / T)) / T is T (1/2 + 2 alpha / pi^2)."""
    found = draws(timesteps.Cosine(alpha=alpha), schedule)
    assert abs(float(found.mean()) / 1000 - (0.5 + 2 * alpha / torch.pi**2)) < 0.01


@pytest.mark.evidence(level="parity", recipe="style-friendly-snr")
def test_log_snr_is_normal_around_its_mean(schedule):
    alphas = schedule.alphas_cumprod.double()
    ratios = torch.log(alphas / (1 - alphas))
    found = ratios[draws(timesteps.LogSNR(mean=-2.0, deviation=0.5), schedule).long()]
    assert abs(float(found.mean()) + 2.0) < 0.02 and abs(float(found.std()) - 0.5) < 0.02


@pytest.mark.parametrize(
    "make",
    [
        lambda: timesteps.Between(low=0.5, high=0.5),
        lambda: timesteps.Cosine(alpha=2),
        lambda: timesteps.LogSNR(deviation=0),
    ],
)
def test_numbers_out_of_range_are_refused(make):
    with pytest.raises(PersonaError):
        make()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_clean_estimate_undoes_the_noising(schedule, kind):
    clean, noise, t = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([10, 500, 990])
    noisy = schedule.add_noise(clean, noise, t)
    truth = {"epsilon": noise, "v_prediction": schedule.get_velocity(clean, noise, t), "sample": clean}[kind]
    found = clean_estimate(truth, noisy, schedule.alphas_cumprod[t], kind)
    assert torch.allclose(found, clean, atol=1e-3)
