"""Weighted gradients equal the two-pass oracle, on one device, over a mesh and under pmap."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import problems
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from presence_t5x import (
    PresenceConfig,
    init_presence_state,
    presence_gradients,
    unweighted_gradients,
)

# float32 sums in another order; a temperature multiplies what the scores' rounding leaves.
TOLERANCE = 1e-5
TEMPERATURES = (0.0, 1.0, -1.0, 50.0, -50.0)
NUM_ROWS = 16
ALL_ROWS = range(NUM_ROWS)
EXACT = [
    ("microbatch", "batch", "stored"),
    ("microbatch", "ema", "stored"),
    ("microbatch", "none", "stored"),
    ("microbatch", "ema", "streaming"),
    ("microbatch", "none", "streaming"),
    ("shard", "ema", "streaming"),
    ("shard", "none", "streaming"),
    ("example", "batch", "stored"),
    ("example", "ema", "streaming"),
    ("example", "none", "streaming"),
]
HISTORY = [np.array([0.2, 0.5, 0.9]), np.array([0.1, 0.4])]


def tolerance(temperature):
    return TOLERANCE * max(1.0, abs(temperature))


def rows_of(config, num_shards=1):
    """Returns the row numbers of every unit, in the order of aux.scores."""
    if config.granularity == "example":
        return [np.array([row]) for row in ALL_ROWS]
    if config.granularity == "shard":
        return oracles.shard_rows(NUM_ROWS, config.num_microbatches, num_shards)
    return oracles.unit_rows(NUM_ROWS, config.num_microbatches, config.row_order)


def batches(config, num_shards=1):
    """Returns batches of unequal counts: clean, with a padding-only unit, with a non-finite one.

    With a single unit the last two leave nothing alive, which must give zeros.
    """
    rows = rows_of(config, num_shards)
    dead = rows[len(rows) // 2]
    poisoned = rows[-1]
    return {
        "clean": problems.make_batch(1, NUM_ROWS),
        "padding": problems.make_batch(2, NUM_ROWS, padding_rows=dead),
        "nonfinite": problems.make_batch(
            3, NUM_ROWS, padding_rows=[0], nonfinite_rows=poisoned[-1:]
        ),
    }


def history_state(config):
    """Returns the state after the steps of HISTORY, from the oracle's own moments."""
    mean, mean_square = oracles.ema_moments(HISTORY, config.ema_decay)
    correction = 1 - config.ema_decay ** len(HISTORY)
    return init_presence_state(config)._replace(
        num_updates=jnp.int32(len(HISTORY)),
        score_ema=jnp.float32(mean * correction),
        squared_score_ema=jnp.float32(mean_square * correction),
    )


def expect_equal_to_oracle(step, config, params, *, num_shards=1, temperatures=TEMPERATURES):
    """Runs the compiled step for every batch and temperature and compares all it returns."""
    state = history_state(config)
    for name, batch in batches(config, num_shards).items():
        units = oracles.unit_gradients(
            problems.loss_fun, params, batch, rows_of(config, num_shards)
        )
        for temperature in temperatures:
            gradients, aux = step(params, batch, jnp.float32(temperature), state)
            expected, scores, weights, live = oracles.weighted_gradient(
                units,
                problems.SCORED_PATHS,
                temperature=temperature,
                normalizer=config.normalizer,
                score_loss=config.score_loss,
                loss_constant=config.loss_normalizer or 1.0,
                epsilon=config.epsilon,
                clip=config.score_clip,
                moments=oracles.ema_moments(HISTORY, config.ema_decay),
            )
            label = f"{name}, temperature {temperature}"
            assert oracles.relative_error(gradients, expected) <= tolerance(temperature), label
            np.testing.assert_allclose(aux.weights, weights, atol=tolerance(temperature))
            np.testing.assert_allclose(
                np.asarray(aux.scores)[live], scores[live], rtol=TOLERANCE, err_msg=label
            )
            assert int(aux.num_live_units) == live.sum(), label
            if live.any():
                assert float(jnp.sum(aux.weights)) == pytest.approx(1.0, abs=1e-5)
                assert float(aux.loss_sum) == pytest.approx(units[1][live].sum(), rel=1e-5)
                assert float(aux.num_tokens) == units[2][live].sum()


@pytest.fixture(scope="module")
def params():
    return problems.init_params()


@pytest.mark.parametrize("num_microbatches", [1, 2, 4, 8])
@pytest.mark.parametrize("row_order", ["strided", "contiguous"])
@pytest.mark.parametrize("units", EXACT, ids="-".join)
def test_equals_two_pass_oracle_on_one_device(units, row_order, num_microbatches, params):
    granularity, normalizer, accumulator = units
    if granularity == "shard" and row_order == "contiguous":
        row_order = "strided"
    config = PresenceConfig(
        num_microbatches=num_microbatches,
        granularity=granularity,
        normalizer=normalizer,
        accumulator=accumulator,
        row_order=row_order,
        loss_normalizer="num_real_target_tokens" if row_order == "strided" else 40.0,
        score_loss="sum" if normalizer == "batch" and num_microbatches == 4 else "mean",
    )

    @jax.jit
    def step(params, batch, temperature, state):
        return presence_gradients(
            problems.loss_fun,
            params,
            batch,
            None,
            temperature=temperature,
            config=config,
            state=state,
        )

    expect_equal_to_oracle(step, config, params)
