"""Weights as the paper defines them, and the properties that every weighting must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presence_t5x import weighting
from presence_t5x.config_types import PresenceConfig, TemperatureConfig

SCORES = st.lists(st.floats(0, 1e6, allow_nan=False, width=32), min_size=1, max_size=12)
TEMPERATURE = st.floats(-50, 50)
# Scores 1, 2, 3, 4 without epsilon, worked out by hand from equations 7 and 8.
VECTOR = {
    1.0: [0.041560, 0.101653, 0.248637, 0.608150],
    -1.0: [0.608150, 0.248637, 0.101653, 0.041560],
    2.0: [0.003893, 0.023288, 0.139321, 0.833499],
}


@pytest.mark.parametrize("temperature", VECTOR)
def test_worked_vector(temperature):
    z = weighting.normalize_scores(jnp.array([1.0, 2.0, 3.0, 4.0]), epsilon=0.0)
    np.testing.assert_allclose(
        weighting.softmax_weights(z, temperature), VECTOR[temperature], atol=5e-7
    )


@settings(max_examples=60, deadline=None)
@given(SCORES, TEMPERATURE, st.randoms(use_true_random=False))
def test_properties(scores, temperature, random):
    scores = np.array(scores, np.float32)
    z = weighting.normalize_scores(scores)
    weights = np.asarray(weighting.softmax_weights(z, temperature))
    assert np.isfinite(weights).all() and (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-5)
    shifted = weighting.softmax_weights(z + 3.0, temperature)
    np.testing.assert_allclose(shifted, weights, atol=2e-4)
    order = list(range(len(scores)))
    random.shuffle(order)
    permuted = weighting.softmax_weights(weighting.normalize_scores(scores[order]), temperature)
    np.testing.assert_allclose(permuted, weights[order], atol=1e-3)
    ranked = weights[np.argsort(scores, kind="stable")]
    steps = np.diff(ranked) if temperature >= 0 else -np.diff(ranked)
    assert (steps >= -1e-6).all()


@settings(max_examples=40, deadline=None)
@given(SCORES, st.integers(0, 11), st.sampled_from([np.nan, np.inf, -np.inf, 1e30]), TEMPERATURE)
def test_dead_units_leave_the_rest_exact(scores, position, poison, temperature):
    alive = np.array(scores, np.float32)
    position = min(position, len(scores))
    scores = np.insert(alive, position, poison).astype(np.float32)
    live = np.arange(len(scores)) != position
    z = weighting.normalize_scores(scores, jnp.asarray(live))
    weights = np.asarray(weighting.softmax_weights(z, temperature, jnp.asarray(live)))
    expected = weighting.softmax_weights(weighting.normalize_scores(alive), temperature)
    assert weights[position] == 0
    np.testing.assert_allclose(np.delete(weights, position), expected, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-18, 1e-6, 1.0, 1e18])
def test_scale_of_the_loss_changes_nothing(scale):
    scores = jnp.array([1.0, 2.0, 3.5, 4.0, 4.2])
    np.testing.assert_allclose(
        weighting.normalize_scores(scores * scale), weighting.normalize_scores(scores), rtol=1e-5
    )


@pytest.mark.parametrize("scores", [[2.0], [3.0, 3.0, 3.0], [0.0, 0.0]])
def test_no_spread_is_uniform(scores):
    z = weighting.normalize_scores(jnp.array(scores))
    np.testing.assert_array_equal(z, 0.0)


def test_relative_epsilon():
    scores = jnp.array([10.0, 12.0])
    np.testing.assert_allclose(
        weighting.normalize_scores(scores, epsilon=0.25),
        [-1 / np.sqrt(31.25), 1 / np.sqrt(31.25)],
        rtol=1e-6,
    )


def test_ema_state_is_bias_corrected_and_uniform_at_first():
    config = PresenceConfig(normalizer="ema", ema_decay=0.9)
    state, history = weighting.init_presence_state(config), []
    live = jnp.array([True, True, False])
    for scores in ([1.0, 3.0, np.nan], [2.0, 8.0, np.inf], [5.0, 5.5, 0.0]):
        z = weighting.standardize_scores(jnp.array(scores), config, state)
        expected = oracles.z_scores(
            np.array(scores[:2]), "ema", config.epsilon, oracles.ema_moments(history, 0.9)
        )
        np.testing.assert_allclose(z[:2], expected, rtol=1e-4, atol=1e-6)
        state = weighting.update_presence_state(state, jnp.array(scores), live, 0.9)
        history.append(np.array(scores[:2]))


def ema_state(history, config):
    """Returns the score moments after steps of the given scores."""
    state = weighting.init_presence_state(config)
    update = jax.jit(weighting.update_presence_state, static_argnames="decay")
    for scores in history:
        scores = jnp.asarray(scores, jnp.float32)
        state = update(state, scores, jnp.ones(scores.shape, bool), decay=config.ema_decay)
    return state


HISTORY = [[1.0, 3.0], [2.0, 8.0], [5.0, 5.5]]


@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1e-6, 1e18, 1e30])
def test_scale_of_the_scores_changes_nothing_over_steps(scale):
    config, scores = PresenceConfig(normalizer="ema"), jnp.array([0.5, 4.0, 9.0])
    scaled = ema_state([[scale * score for score in row] for row in HISTORY], config)
    np.testing.assert_allclose(
        weighting.standardize_scores(scale * scores, config, scaled),
        weighting.standardize_scores(scores, config, ema_state(HISTORY, config)),
        rtol=1e-4,
    )


def test_a_score_that_does_not_square_is_forgotten_like_any_other():
    config = PresenceConfig(normalizer="ema", ema_decay=0.5)
    state = ema_state([[1e20, 1.0]], config)
    assert all(np.isfinite(leaf) for leaf in state)
    state = ema_state([[1e20, 1.0], *HISTORY * 50], config)
    scores = jnp.array([0.5, 4.0, 9.0])
    moments = oracles.ema_moments(HISTORY * 50, 0.5)
    np.testing.assert_allclose(
        weighting.standardize_scores(scores, config, state),
        oracles.z_scores(np.asarray(scores), "ema", config.epsilon, moments),
        rtol=1e-4,
    )


def test_default_clipping():
    """None of raw scores, which have no scale: a bound would make all above it equal."""
    assert PresenceConfig().score_clip is None
    assert PresenceConfig(granularity="example").score_clip == 3.0
    assert PresenceConfig(granularity="example", normalizer="ema").score_clip == 3.0
    assert PresenceConfig(granularity="example", normalizer="none").score_clip is None
    config = PresenceConfig(granularity="example", normalizer="none", max_abs_z=2.0)
    assert config.score_clip == 2.0
    assert PresenceConfig(granularity="example", max_abs_z=None).score_clip is None
    config = PresenceConfig(max_abs_z=1.0)
    z = weighting.step_z_scores(
        jnp.array([0.0, 0.0, 0.0, 9.0]),
        jnp.ones(4, bool),
        config,
        weighting.init_presence_state(config),
    )
    assert float(jnp.max(z)) == 1.0


@pytest.mark.parametrize("target", [1.5, 4.0, 7.9, 8.0])
def test_target_temperature(target):
    z = weighting.normalize_scores(jnp.arange(8.0))
    for sign in (1.0, -1.0, 0.0):
        tau = weighting.target_temperature(z, jnp.ones(8, bool), sign, target)
        size = weighting.effective_sample_size(weighting.softmax_weights(z, tau))
        assert float(size) == pytest.approx(target if sign else 8.0, rel=1e-3)
        assert float(tau) * sign >= 0


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"schedule": "two_stage", "switch_step": 10}, {0: 1, 9: 1, 10: -1, 99: -1}),
        ({"schedule": "two_stage", "switch_step": 0}, {0: -1}),
        ({"schedule": "constant", "temperature_1": -0.5}, {0: -0.5, 7: -0.5}),
        ({"schedule": "linear", "switch_step": 10}, {0: 1, 5: 0, 10: -1, 20: -1}),
        ({"schedule": "cosine", "switch_step": 10}, {0: 1, 5: 0, 10: -1, 20: -1}),
        ({"schedule": "piecewise", "points": ((0, 0.0), (10, 2.0))}, {0: 0, 5: 1, 30: 2}),
        ({"schedule": "learning_rate", "temperature_1": 2.0}, {0: 0.2, 10: 2.0}),
    ],
)
def test_schedules(config, expected):
    schedule = weighting.temperature_schedule(
        TemperatureConfig(**config), lambda step: jnp.minimum(step + 1, 10) * 0.01, peak_step=9
    )
    traced = jax.jit(schedule)
    for step, temperature in expected.items():
        assert float(traced(jnp.int32(step))) == pytest.approx(temperature, abs=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "hot", True, None])
def test_schedule_refuses(bad):
    with pytest.raises(ValueError, match="temperature_1="):
        weighting.two_stage_schedule(bad, -1.0, 10)
    with pytest.raises(ValueError, match=r"switch_step=2\.5 must be an integer"):
        weighting.two_stage_schedule(1.0, -1.0, 2.5)
