"""Logits at the positions that count give what logits at all positions give."""

import families
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from presence_t5x.counted_targets import take_counted
from presence_t5x.losses import token_loss
from presence_t5x.models.families import build_model

MOST = 4
FEW = ("decoder_only", "encoder_only")
# The same float32 sums in another order.
TOLERANCE = 1e-5


def batch_of(config, most=MOST):
    """Rows in which at most so many positions count: exactly so many in some, none in the last."""
    batch = families.batch_of(config)
    name = config.features.weights
    weights = np.array(batch[name])
    weights *= np.cumsum(weights, axis=1) <= most
    assert weights.sum(1).max() == most and weights.sum(1)[-1] == 0
    return batch | {name: jnp.asarray(weights)}


def losses(config, most_targets=None, per_row=True):
    return token_loss(build_model(config), 1e-2, per_row=per_row, most_targets=most_targets)


@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("family", FEW)
def test_values_and_gradients_are_those_of_all_positions(family, per_row):
    config = families.CONFIGS[family]
    params, batch = families.params_of(config), batch_of(config)
    factors = jnp.arange(1.0, 1.0 + families.ROWS) if per_row else 1.0

    def value(params, most_targets):
        sums, num_tokens, metrics = losses(config, most_targets, per_row)(params, batch, None)
        return jnp.sum(factors * sums), (sums, num_tokens, metrics)

    few, whole = (
        jax.jit(jax.value_and_grad(lambda p, most=most: value(p, most), has_aux=True))(params)
        for most in (MOST, None)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE),
        few[0],
        whole[0],
    )
    assert oracles.relative_error(few[1], whole[1]) < TOLERANCE


def test_norms_of_rows_are_those_of_all_positions():
    config = families.CONFIGS["decoder_only"]
    params, batch = families.params_of(config), batch_of(config)
    path = ("decoder", "layers_0", "mlp", "wo", "kernel")
    probe = jnp.ones(losses(config).probe_shape(path, families.ROWS))

    def norms(most_targets):
        def total(probe):
            probes = {"decoder": {"layers_0": {"mlp": {"wo": {"kernel": probe}}}}}
            return losses(config, most_targets).probed(params, probes, batch, None)[0].sum()

        return jax.jit(jax.grad(total))(probe)

    few, whole = norms(MOST), norms(None)
    assert float(jnp.max(whole)) > 0 and float(whole[-1]) == 0
    np.testing.assert_allclose(few, whole, rtol=1e-4)


@pytest.mark.parametrize("family", FEW)
def test_a_row_with_more_targets_than_told_loses_nan_and_no_other(family):
    config = families.CONFIGS[family]
    params, batch = families.params_of(config), batch_of(config)
    told = int(np.asarray(batch[config.features.weights]).sum(1).max()) - 1
    sums, num_tokens, _ = losses(config, told)(params, batch, None)
    too_many = np.asarray(batch[config.features.weights]).sum(1) > told
    assert 0 < too_many.sum() < families.ROWS
    np.testing.assert_array_equal(np.isnan(sums), too_many)
    whole = losses(config)(params, batch, None)[0]
    np.testing.assert_allclose(sums[~too_many], whole[~too_many], rtol=TOLERANCE)
    np.testing.assert_array_equal(num_tokens, batch[config.features.weights].sum(1))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_vectors_are_picked_bit_for_bit(dtype):
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(1e3 * rng.normal(size=(5, 9, 4)), dtype)
    weights = np.asarray(rng.random((5, 9)) < 0.4, np.float32)
    targets = rng.integers(0, 99, (5, 9))
    found = take_counted(hidden, jnp.asarray(targets), jnp.asarray(weights), 9)
    assert found[0].dtype == dtype
    for row in range(5):
        places = np.flatnonzero(weights[row])
        np.testing.assert_array_equal(found[0][row, : len(places)], hidden[row, places])
        np.testing.assert_array_equal(found[1][row, : len(places)], targets[row, places])
        assert not np.any(found[2][row, len(places) :]) and np.all(found[2][row, : len(places)])
