"""Intervals against exact enumeration of all draws, and against the truth of made-up data."""

import itertools

import numpy as np
import pytest

from presence_t5x.reproduction.bootstrap import (
    BootstrapConfig,
    f1_metric,
    interval,
    metric_of,
    replicates,
)

MANY = BootstrapConfig(num_replicates=40_000)
# Of the share of replicates below a value: three standard errors of 40,000 draws.
SHARE_TOLERANCE = 3 * 0.5 / np.sqrt(40_000)


def mean_values(values):
    """Values of [seeds, examples] as the bootstrap takes them."""
    values = np.asarray(values, np.float64)
    return np.stack([values, np.ones_like(values)], axis=-1)


def enumerate_draws(metric, num_seeds, num_examples):
    """The metric of every possible draw of seeds and, common to them, examples."""
    return sorted(
        sum(metric(seed, examples) for seed in seeds) / num_seeds
        for seeds in itertools.product(range(num_seeds), repeat=num_seeds)
        for examples in itertools.product(range(num_examples), repeat=num_examples)
    )


def assert_same_distribution(drawn, exact):
    exact = np.array(exact)
    for value in np.unique(exact.round(9)):
        expected = (exact <= value + 1e-6).mean()
        assert (drawn <= value + 1e-6).mean() == pytest.approx(expected, abs=SHARE_TOLERANCE)


def test_replicates_of_a_mean_are_distributed_as_all_draws():
    values = [[0.0, 40.0, 100.0], [10.0, 20.0, 90.0]]

    def metric(seed, examples):
        return sum(values[seed][i] for i in examples) / len(examples)

    drawn = replicates([mean_values(values)], MANY)
    assert_same_distribution(drawn, enumerate_draws(metric, 2, 3))


def test_replicates_of_f1_are_distributed_as_all_draws():
    counts = np.array([[[1, 1, 2], [0, 2, 1], [2, 2, 2]], [[0, 0, 2], [1, 1, 1], [1, 3, 2]]], float)

    def metric(seed, examples):
        right, predicted, gold = (sum(counts[seed][i][k] for i in examples) for k in range(3))
        return 0.0 if not right else 100 * 2 * right / (predicted + gold)

    drawn = replicates([counts], MANY)
    assert_same_distribution(drawn, enumerate_draws(metric, 2, 3))


def test_translations_are_drawn_together():
    languages = [[[0.0, 100.0, 50.0, 10.0]], [[100.0, 0.0, 50.0, 90.0]]]
    drawn = replicates([mean_values(values) for values in languages], MANY)
    np.testing.assert_allclose(drawn, 50.0)


def test_the_interval_covers_the_truth_when_seeds_share_hard_examples():
    """Drawing examples anew for every seed would cover it in fewer than 7 of 10 cases."""
    rng = np.random.default_rng(0)
    config = BootstrapConfig(num_replicates=400)
    covered = 0
    for _ in range(200):
        hardness = rng.uniform(0, 100, 100)
        values = np.tile(hardness, (5, 1)) + rng.normal(0, 1, (5, 1))
        low, high = interval(replicates([mean_values(values)], config), config)
        covered += low <= 50.0 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_the_interval_covers_the_truth_when_seeds_differ():
    """Of ten seeds the percentiles are a little narrow: 0.95 is not reached."""
    rng = np.random.default_rng(1)
    config = BootstrapConfig(num_replicates=400)
    covered = 0
    for _ in range(200):
        values = rng.normal(50, 3, (10, 1)) + rng.normal(0, 20, (10, 100))
        low, high = interval(replicates([mean_values(values)], config), config)
        covered += low <= 50.0 <= high
    assert 0.86 <= covered / 200 <= 0.98


def test_draws_depend_on_the_seed_alone():
    values = [mean_values(np.random.default_rng(2).uniform(0, 100, (3, 50)))]
    first = replicates(values, BootstrapConfig(num_replicates=50))
    np.testing.assert_array_equal(first, replicates(values, BootstrapConfig(num_replicates=50)))
    other = replicates(values, BootstrapConfig(num_replicates=50, seed=1))
    assert not np.array_equal(first, other)


def test_shifting_a_variant_shifts_every_replicate_of_its_difference():
    """Two variants are drawn together: what differs by a constant has no interval."""
    values = np.random.default_rng(3).uniform(0, 90, (3, 40))
    config = BootstrapConfig(num_replicates=50)
    sides = [replicates([mean_values(values + shift)], config) for shift in (0.0, 5.0)]
    np.testing.assert_allclose(sides[1] - sides[0], 5.0)


def test_metrics_of_nothing_found_are_zero():
    assert f1_metric(np.array([0.0, 0.0, 0.0])) == 0.0
    assert metric_of(np.array([[[0.0, 0.0, 3.0]]])).tolist() == [0.0]


def test_sets_with_other_seeds_are_refused():
    sets = [mean_values([[1.0, 2.0]]), mean_values([[1.0, 2.0], [3.0, 4.0]])]
    with pytest.raises(ValueError, match=r"sets have \[1, 2\] seeds; all must have the same"):
        replicates(sets, BootstrapConfig())
