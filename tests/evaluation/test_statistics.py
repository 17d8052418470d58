"""Means over concepts with bootstrap intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation.statistics import bootstrap, cluster_means, paired_difference


def test_every_concept_weighs_the_same_however_many_pictures_it_has():
    values, concepts = [1.0, 1.0, 1.0, 0.0], ["cat", "cat", "cat", "dog"]
    assert bootstrap(values, concepts).mean == 0.5
    assert cluster_means(values, concepts).tolist() == [1.0, 0.0]


def test_the_same_seed_gives_the_same_interval():
    values, concepts = list(np.random.default_rng(1).normal(size=60)), [i % 10 for i in range(60)]
    assert bootstrap(values, concepts, seed=3) == bootstrap(values, concepts, seed=3)
    assert bootstrap(values, concepts, seed=3) != bootstrap(values, concepts, seed=4)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        concept_means = rng.normal(0.3, 1.0, size=30)
        values = np.repeat(concept_means, 4) + rng.normal(0, 0.3, size=120)
        found = bootstrap(values, np.repeat(np.arange(30), 4), draws=400)
        covered += found.low <= 0.3 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_pictures_of_one_concept_do_not_count_as_independent():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=8), 50)
    clustered = bootstrap(values, np.repeat(np.arange(8), 50))
    naive = bootstrap(values, np.arange(400))
    assert clustered.high - clustered.low > 4 * (naive.high - naive.low)


def test_one_concept_gives_a_mean_but_no_interval():
    found = bootstrap([0.1, 0.2], ["cat", "cat"])
    assert found.mean == pytest.approx(0.15)
    assert (found.low, found.high) == (None, None)
    assert not found.above_zero and not found.below_zero


def test_a_paired_difference_is_tighter_than_two_separate_intervals():
    rng = np.random.default_rng(0)
    keys = [(concept, prompt) for concept in range(8) for prompt in range(5)]
    shared = {key: rng.normal() for key in keys}
    base = {key: shared[key] + rng.normal(0, 0.01) for key in keys}
    better = {key: shared[key] + 0.1 + rng.normal(0, 0.01) for key in keys}
    found = paired_difference(better, base, {key: key[0] for key in keys})
    assert found.above_zero and found.mean == pytest.approx(0.1, abs=0.01)
    separate = bootstrap(list(better.values()), [key[0] for key in keys])
    assert found.high - found.low < (separate.high - separate.low) / 10


def test_only_shared_pictures_are_compared():
    found = paired_difference({"a": 1.0, "b": 5.0}, {"a": 0.5, "c": 9.0}, {"a": 1, "b": 2})
    assert (found.mean, found.count) == (0.5, 1)
    with pytest.raises(PersonaError, match="share no picture"):
        paired_difference({"a": 1.0}, {"b": 1.0}, {"a": 1})


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [([], [], "no values"), ([1.0], [], "1 values but 0 clusters"), ([1.0], [1], "between 0 and 1")],
)
def test_refuses_what_has_no_interval(values, clusters, message):
    with pytest.raises(PersonaError, match=message):
        bootstrap(values, clusters, level=1.5)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
@settings(max_examples=50, deadline=None)
def test_the_interval_lies_within_the_values_and_around_the_mean(values):
    found = bootstrap(values, range(len(values)), draws=200)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
