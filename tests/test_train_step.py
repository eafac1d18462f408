"""One update: its guards, its metrics, and the same result on one device and on eight."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import problems
import pytest

from presence_t5x.config_types import OptimizerConfig, PresenceConfig, TemperatureConfig
from presence_t5x.optimizer import build_optimizer
from presence_t5x.partitioning import batch_sharding, data_mesh, replicated
from presence_t5x.train_step import Objective, init_train_state, train_step
from presence_t5x.weighting import temperature_schedule, two_stage_schedule

STEPS = 4


def make_objective(**changes):
    settings = {
        "loss_fun": problems.loss_fun_with_metrics,
        "optimizer": optax.adam(1e-2),
        "learning_rate_fn": lambda step: jnp.float32(1e-2),
        "temperature_fn": two_stage_schedule(1.0, -1.0, 2),
        "config": PresenceConfig(num_microbatches=2, loss_normalizer="num_real_target_tokens"),
    }
    return Objective(**(settings | changes))


def run(objective, batches):
    step = jax.jit(functools.partial(train_step, objective))
    state = init_train_state(objective, problems.init_params())
    history = []
    if objective.mesh is not None:
        state = jax.device_put(state, replicated(objective.mesh))
        batches = [jax.device_put(batch, batch_sharding(objective.mesh)) for batch in batches]
    for batch in batches:
        state, metrics = step(state, batch)
        history.append(jax.device_get(metrics))
    return state, history


@pytest.fixture(scope="module")
def batches():
    return [problems.make_batch(seed, 16) for seed in range(STEPS)]


def test_equals_optax_over_oracle_gradients(batches):
    """Two steps direct, then inverse: the first `switch_step` updates use temperature_1."""
    state, history = run(make_objective(), batches)
    params = problems.init_params()
    optimizer = optax.adam(1e-2)
    optimizer_state = optimizer.init(params)
    for index, batch in enumerate(batches):
        temperature = 1.0 if index < 2 else -1.0
        gradient, _, weights, _ = oracles.weighted_gradient(
            oracles.unit_gradients(
                problems.loss_fun, params, batch, oracles.unit_rows(16, 2, "strided")
            ),
            problems.SCORED_PATHS,
            temperature=temperature,
            loss_constant="num_real_target_tokens",
        )
        gradient = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), gradient)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
        params = optax.apply_updates(params, updates)
        assert history[index]["presence/temperature"] == temperature
        np.testing.assert_allclose(history[index]["presence/weights"], weights, atol=1e-4)
    expected = jax.tree.map(np.asarray, params)
    assert oracles.relative_error(state.params, expected) < 1e-4
    assert int(state.step) == STEPS


@pytest.mark.parametrize(
    "config",
    [
        PresenceConfig(num_microbatches=2),
        PresenceConfig(num_microbatches=2, normalizer="ema", accumulator="streaming"),
        PresenceConfig(num_microbatches=2, granularity="example"),
        PresenceConfig(num_microbatches=2, row_order="contiguous"),
    ],
    ids=["stored", "streaming", "example", "contiguous"],
)
def test_eight_devices_equal_one(config, batches):
    one, one_history = run(make_objective(config=config), batches)
    eight, eight_history = run(make_objective(config=config, mesh=data_mesh()), batches)
    assert oracles.relative_error(eight.params, jax.tree.map(np.asarray, one.params)) < 1e-4
    for a, b in zip(one_history, eight_history):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-5, err_msg=name)


STEPS_OF_ALL_KINDS = {
    "unweighted": {"temperature_fn": None},
    "stored": {"temperature_fn": lambda _: jnp.float32(1.0)},
    "ema": {
        "temperature_fn": lambda _: jnp.float32(1.0),
        "config": PresenceConfig(num_microbatches=2, normalizer="ema", accumulator="streaming"),
    },
}


def expect_same_but_for_counts(state, other):
    """Parameters, optimizer and score moments, to the last bit."""
    for name in ("params", "optimizer_state", "presence"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), getattr(other, name))


@pytest.mark.parametrize("changes", STEPS_OF_ALL_KINDS.values(), ids=STEPS_OF_ALL_KINDS)
def test_a_step_without_live_units_is_skipped_and_counted(changes, batches):
    dead = problems.make_batch(9, 16, nonfinite_rows=range(16))
    with_dead, history = run(make_objective(**changes), [batches[0], dead, batches[1]])
    without, _ = run(make_objective(**changes), batches[:2])
    assert int(with_dead.num_skipped_updates) == 1 and int(with_dead.step) == 3
    assert int(with_dead.num_nonfinite_units) == (1 if changes["temperature_fn"] is None else 2)
    assert history[1]["train/num_skipped_updates"] == 1
    expect_same_but_for_counts(with_dead, without)


def loss_times_scale(params, batch, rng):
    losses, *rest = problems.loss_fun_with_metrics(params, batch, rng)
    return losses * batch["scale"], *rest


@pytest.mark.parametrize(
    "optimizer",
    [
        build_optimizer(OptimizerConfig(min_dim_size_to_factor=4), scan_layers=False),
        build_optimizer(OptimizerConfig(), scan_layers=False),
        build_optimizer(OptimizerConfig(name="adamw"), scan_layers=False),
    ],
    ids=["factored", "unfactored", "adamw"],
)
def test_a_gradient_that_does_not_square_is_skipped(optimizer, batches):
    """The second moment would be infinite, and the parameters NaN or never updated again."""
    changes = {"loss_fun": loss_times_scale, "optimizer": optimizer, "temperature_fn": None}
    rows = [batch | {"scale": jnp.ones(16)} for batch in batches[:2]]
    large = batches[2] | {"scale": jnp.full(16, 1e22)}
    with_large, _ = run(make_objective(**changes), [rows[0], large, rows[1]])
    without, _ = run(make_objective(**changes), rows)
    assert int(with_large.num_skipped_updates) == 1
    expect_same_but_for_counts(with_large, without)


def test_schedules_count_updates_as_the_optimizer_does(batches):
    """A skipped update takes no part of the learning rate's way, nor of the temperature's."""
    dead = problems.make_batch(9, 16, nonfinite_rows=range(16))

    def rate(step):
        return jnp.float32(0.1) / (1 + step)

    objective = make_objective(
        optimizer=optax.sgd(rate),
        learning_rate_fn=rate,
        temperature_fn=temperature_schedule(TemperatureConfig(schedule="learning_rate"), rate),
    )
    state, history = run(objective, [batches[0], dead, batches[1]])
    (count,) = jax.tree.leaves(state.optimizer_state)
    assert int(count) == 2
    rates = [row["train/learning_rate"] for row in history]
    np.testing.assert_allclose(rates, [0.1, 0.05, 0.05])
    temperatures = [row["presence/temperature"] for row in history]
    np.testing.assert_allclose(temperatures, [1.0, 0.5, 0.5])


def test_metrics_of_live_units(batches):
    batch = problems.make_batch(3, 16, nonfinite_rows=[1])
    _, (metrics,) = run(make_objective(config=PresenceConfig(num_microbatches=4)), [batch])
    live = np.array([True, False, True, True])
    scores, weights = metrics["presence/scores"], metrics["presence/weights"]
    assert metrics["presence/score_mean"] == pytest.approx(scores[live].mean(), rel=1e-5)
    assert metrics["presence/score_std"] == pytest.approx(scores[live].std(), rel=1e-4)
    assert metrics["presence/score_max"] == scores[live].max()
    assert metrics["presence/weight_max"] == weights.max()
    assert metrics["presence/effective_sample_size"] == pytest.approx(1 / np.sum(weights**2))
    assert metrics["presence/num_nonfinite_units"] == 1


def test_the_score_moments_are_carried_from_step_to_step(batches):
    config = PresenceConfig(num_microbatches=2, normalizer="ema", accumulator="streaming")
    state, history = run(make_objective(config=config), batches)
    assert int(state.presence.num_updates) == STEPS
    np.testing.assert_allclose(history[0]["presence/weights"], 0.5)
    moments = oracles.ema_moments([row["presence/scores"] for row in history[:3]], 0.99)
    z = oracles.z_scores(history[3]["presence/scores"], "ema", config.epsilon, moments)
    expected = oracles.softmax(history[3]["presence/temperature"] * z)
    np.testing.assert_allclose(history[3]["presence/weights"], expected, rtol=1e-3)


def test_dropout_keys_differ_by_step(batches):
    objective = make_objective(dropout_rng=jax.random.key(0), optimizer=optax.sgd(0.0))
    _, history = run(objective, [batches[0], batches[0]])
    assert history[0]["train/loss"] != history[1]["train/loss"]
    _, again = run(objective, [batches[0], batches[0]])
    assert [row["train/loss"] for row in again] == [row["train/loss"] for row in history]


def test_unweighted_step_reports_no_weighting(batches):
    _, (metrics, *_) = run(make_objective(temperature_fn=None), batches)
    assert not [name for name in metrics if name.startswith("presence/")]
    assert {"train/loss", "train/num_tokens", "train/learning_rate"} <= set(metrics)
